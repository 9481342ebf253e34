"""Error messages for transfers from and to the Hugging Face Hub.

The client's own messages have up to ten lines with addresses and request IDs, and for a
full disk, a closed connection or a server error they give no remedy. One message here
names the cause and the remedy.
"""

import contextlib
import errno
import os
from collections.abc import Iterator

from jaxfactory._util.errors import UserError


LOGIN = (
    "run `hf auth login`, or set HF_TOKEN, with a token that has write access "
    "(https://huggingface.co/settings/tokens)"
)
_AGAIN = "run the same command again to retry"


def check_repo_id(repo: str) -> None:
    """Check the form of a repository's name.

    Raises:
        UserError: If it is not of the form user/repo.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
        user, _, name = repo.partition("/")
        if not user or not name:
            raise HFValidationError
    except HFValidationError:
        raise UserError(
            f"{repo!r} is not a repository name; give user/repo, with at most 96 "
            "letters, digits, '-', '_' and '.'"
        ) from None


@contextlib.contextmanager
def sentences(repo: str) -> Iterator[None]:
    """Turn exceptions of the client in the block into a ``UserError``.

    Args:
        repo: The repository, for the messages.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(_explain(repo, _chain(error))) from error


def _chain(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _explain(repo: str, chain: list[BaseException]) -> str:
    return (
        _explain_machine(repo, chain)
        or _explain_answer(repo, chain)
        or _explain_network(repo, chain)
        or f"the transfer of {repo} failed ({_words(chain[-1])}); {_AGAIN}"
    )


def _explain_machine(repo: str, chain: list[BaseException]) -> str:
    """Return the message for a problem of this machine, or ""."""
    from huggingface_hub import errors

    for error in chain:
        if isinstance(error, errors.OfflineModeIsEnabled):
            return (
                f"HF_HUB_OFFLINE is set and {repo} is not, or only partly, in the "
                "cache; unset it to reach the Hub"
            )
        if isinstance(error, errors.LocalTokenNotFoundError):
            return f"you are not logged in to the Hub; {LOGIN}"
        if not isinstance(error, OSError) or error.errno is None:
            continue
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return (
                f"the disk is full ({_place(error)}); free some space, or set HF_HOME "
                "to a folder on another disk, and run the same command again"
            )
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            return (
                f"{_place(error)} cannot be used ({os.strerror(error.errno)}); set "
                "HF_HOME to a writable folder"
            )
    return ""


def _place(error: OSError) -> str:
    from huggingface_hub import constants

    return str(error.filename or constants.HF_HUB_CACHE)


def _explain_answer(repo: str, chain: list[BaseException]) -> str:
    """Return the message for an error response of the Hub, or ""."""
    from huggingface_hub import constants, errors

    for error in chain:
        if isinstance(error, errors.GatedRepoError):
            return (
                f"{repo} is a gated repository; request access on "
                f"{constants.ENDPOINT}/{repo}, and log in with `hf auth login`"
            )
        if isinstance(error, errors.RevisionNotFoundError):
            return (
                f"{repo} has no such revision; give --revision a branch, a tag or a "
                f"commit of {constants.ENDPOINT}/{repo}/commits/main"
            )
        if isinstance(error, errors.RepositoryNotFoundError):
            return (
                f"there is no repository {repo} on {constants.ENDPOINT}, or it is "
                "private and not yours; check the name, or log in with `hf auth login`"
            )
        if isinstance(error, errors.HfHubHTTPError):
            return _explain_status(repo, error.response.status_code, error)
    return ""


def _explain_status(repo: str, status: int, error: BaseException) -> str:
    from huggingface_hub import constants

    host = constants.ENDPOINT
    if status >= 500:
        return f"{host} has a server error ({status}); {_AGAIN} in some minutes"
    messages = {
        401: f"{host} does not accept your token; {LOGIN}",
        403: f"{host} does not let your token write to {repo}; use a token that has "
        "write access, and a repository of your own or of your organization",
        404: f"{host} has no repository {repo}, or is not a Hub; check the name, and "
        "HF_ENDPOINT if it is set",
        429: f"{host} received too many requests from you; wait some minutes and retry",
    }
    return messages.get(status) or f"{host} refused {repo} ({_words(error)})"


def _explain_network(repo: str, chain: list[BaseException]) -> str:
    """Return the message for a failed connection, or ""."""
    from huggingface_hub import constants, errors

    # The base class of the web library's errors: httpx before version 2, httpx2 after.
    transport = errors.HfHubHTTPError.__mro__[1]
    for error in chain:
        if "xet" in str(error) and not isinstance(error, transport):
            return (
                f"the Hub's storage for large files (Xet) does not respond "
                f"({_words(error)}); {_AGAIN}, or set HF_HUB_DISABLE_XET=1 to bypass it"
            )
        if isinstance(error, (transport, ConnectionError, TimeoutError)):
            return (
                f"{constants.ENDPOINT} cannot be reached, or the connection was lost "
                f"({type(error).__name__}); check the network, and HF_ENDPOINT if it "
                f"is set, then {_AGAIN}"
            )
    if any(isinstance(error, errors.LocalEntryNotFoundError) for error in chain):
        return f"{repo} cannot be fetched ({_words(chain[0])}); {_AGAIN}"
    return ""


def _words(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    text = next((line for line in lines if line), "")
    return (
        f"{type(error).__name__}: {text[:200].rstrip('.')}"
        if text
        else (type(error).__name__)
    )
