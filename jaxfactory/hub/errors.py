"""What can go wrong between here and the Hugging Face Hub, as sentences.

The client raises some fifty kinds of exceptions, wraps them in each other and names
web addresses and request numbers. A user needs to know what was wrong and what to do.
"""

import contextlib
import errno
import os
from collections.abc import Iterator

from jaxfactory._util.errors import UserError


LOGIN = (
    "run `hf auth login`, or set HF_TOKEN, with a token that may write "
    "(https://huggingface.co/settings/tokens)"
)
_AGAIN = "run the same command again to retry"


def check_repo_id(repo: str) -> None:
    """Refuse what cannot name a repository.

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
            f"{repo!r} names no repository; write user/repo, of letters, digits, "
            "'-', '_' and '.', at most 96 of them"
        ) from None


@contextlib.contextmanager
def sentences(repo: str) -> Iterator[None]:
    """Turn what the client raises in the block into a ``UserError``.

    Args:
        repo: The repository that is being talked about.
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
    """Explain what this machine is to blame for."""
    from huggingface_hub import errors

    for error in chain:
        if isinstance(error, errors.OfflineModeIsEnabled):
            return (
                f"HF_HUB_OFFLINE is set and {repo} is not (or not wholly) in the "
                "cache; unset it to reach the Hub"
            )
        if isinstance(error, errors.LocalTokenNotFoundError):
            return f"you are not logged in to the Hub; {LOGIN}"
        if not isinstance(error, OSError) or error.errno is None:
            continue
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return (
                f"the disk is full ({_place(error)}); make room, or set HF_HOME to a "
                "folder on another disk, and run the same command again"
            )
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            return (
                f"{_place(error)} cannot be used ({os.strerror(error.errno)}); set "
                "HF_HOME to a folder that you may write to"
            )
    return ""


def _place(error: OSError) -> str:
    from huggingface_hub import constants

    return str(error.filename or constants.HF_HUB_CACHE)


def _explain_answer(repo: str, chain: list[BaseException]) -> str:
    """Explain what the Hub has answered."""
    from huggingface_hub import constants, errors

    for error in chain:
        if isinstance(error, errors.GatedRepoError):
            return (
                f"{repo} is open only to those whom its owner lets in; ask for access "
                f"on {constants.ENDPOINT}/{repo}, and log in with `hf auth login`"
            )
        if isinstance(error, errors.RevisionNotFoundError):
            return (
                f"{repo} has no such revision; --revision takes a branch, a tag or a "
                f"commit of {constants.ENDPOINT}/{repo}/commits/main"
            )
        if isinstance(error, errors.RepositoryNotFoundError):
            return (
                f"there is no repository {repo} on {constants.ENDPOINT}, or it is "
                "private and not yours; check its name, or log in with `hf auth login`"
            )
        if isinstance(error, errors.HfHubHTTPError):
            return _explain_status(repo, error.response.status_code, error)
    return ""


def _explain_status(repo: str, status: int, error: BaseException) -> str:
    from huggingface_hub import constants

    host = constants.ENDPOINT
    if status == 401:
        return f"{host} does not accept your token; {LOGIN}"
    if status == 403:
        return (
            f"{host} does not let your token write to {repo}; use a token that may "
            "write, and a repository of your own or of an organisation that you are in"
        )
    if status == 404:
        return (
            f"{host} has no repository {repo}, or does not speak the Hub's protocol; "
            "check the name, and HF_ENDPOINT if it is set"
        )
    if status == 429:
        return f"{host} has had too many requests from you; wait some minutes and retry"
    if status >= 500:
        return f"{host} is out of order ({status}); {_AGAIN} in some minutes"
    return f"{host} refused {repo} ({_words(error)})"


def _explain_network(repo: str, chain: list[BaseException]) -> str:
    """Explain that no answer came."""
    from huggingface_hub import constants, errors

    # What the client's web library raises: httpx before version 2, httpx2 after.
    transport = errors.HfHubHTTPError.__mro__[1]
    for error in chain:
        if "xet" in str(error) and not isinstance(error, transport):
            return (
                f"the storage of {constants.ENDPOINT} for large files (Xet) does not "
                f"answer ({_words(error)}); {_AGAIN}, or set HF_HUB_DISABLE_XET=1 to "
                "go without it"
            )
        if isinstance(error, (transport, ConnectionError, TimeoutError)):
            return (
                f"{constants.ENDPOINT} cannot be reached, or the connection broke off "
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
