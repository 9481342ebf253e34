"""The page of a search: Optuna's own plots, and the table of trials."""

import datetime
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

from markupsafe import Markup

from jaxfactory.report import html_page
from jaxfactory.sweep.search.search_file import OBJECTIVES, Search


class Plot(NamedTuple):
    """One of Optuna's plots.

    Attributes:
        title: Its title.
        html: Its element and the script that draws it; "" if it cannot be drawn.
        note: Why it cannot be drawn.
    """

    title: str
    html: Markup
    note: str = ""


def render(search: Search, study: Any) -> str:
    """Return the HTML of a search's page; it needs no network.

    Args:
        search: The search.
        study: Optuna's study.
    """
    from plotly.offline import get_plotlyjs

    states = [trial.state.name.lower() for trial in study.trials]
    return html_page.render(
        "sweep/search/search.html",
        title=search.sweep.path.stem,
        method=search.method,
        objectives=" and ".join(search.objectives),
        date=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        counts=", ".join(f"{states.count(x)} {x}" for x in sorted({*states})),
        names=list(search.space),
        trials=[_row(search, trial) for trial in study.trials],
        plots=plots(search, study),
        plotly=Markup(get_plotlyjs()),
    )


def plots(search: Search, study: Any) -> list[Plot]:
    """Return Optuna's plots of a study, with one set for each objective."""
    from optuna import visualization as draw

    found = []
    single = len(search.objectives) == 1
    for index, name in enumerate(search.objectives):
        shown = name.replace("_", " ")
        target = None if single else (lambda trial, at=index: trial.values[at])
        options = {"target": target, "target_name": shown}
        for title, function in (
            ("history", draw.plot_optimization_history),
            ("importance of the options", draw.plot_param_importances),
            ("parallel coordinates", draw.plot_parallel_coordinate),
        ):
            found.append(_plot(f"{shown}: {title}", function, study, **options))
    if search.objectives == ("score",) or search.objectives == ("minutes_to_score",):
        found.append(
            _plot("intermediate raw returns", draw.plot_intermediate_values, study)
        )
    found.append(_plot("score and minutes", _pareto, study))
    return found


def _pareto(study: Any) -> Any:
    """Plot which trials no other beats in both the score and the minutes.

    The objectives may be others, so it is a study in memory of the same trials, with
    these two measurements as their values.
    """
    import optuna

    names = ("score", "minutes")
    directions = ["maximize" if OBJECTIVES[name] else "minimize" for name in names]
    copy = optuna.create_study(directions=directions)
    for trial in study.trials:
        values = [trial.user_attrs.get(name) for name in names]
        if trial.state.name == "COMPLETE" and None not in values:
            copy.add_trial(
                optuna.trial.create_trial(
                    params=trial.params,
                    distributions=trial.distributions,
                    values=values,
                )
            )
    return optuna.visualization.plot_pareto_front(copy, target_names=list(names))


def _plot(title: str, function: Callable, study: Any, **options: Any) -> Plot:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            figure = function(study, **options)
    except (ValueError, RuntimeError, ZeroDivisionError) as error:
        # Too few trials have ended, or all are equal.
        return Plot(title, Markup(), str(error).partition("\n")[0])
    if not figure.data:
        return Plot(title, Markup(), "no trial has been completed yet")
    figure.update_layout(title=None, margin={"t": 30})
    html = figure.to_html(full_html=False, include_plotlyjs=False)
    return Plot(title, Markup(html))


def _row(search: Search, trial: Any) -> dict[str, Any]:
    measured = [
        trial.user_attrs.get(name) for name in ("score", "minutes", "frames_per_second")
    ]
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "measured": ["-" if x is None else f"{x:,.4g}" for x in measured],
        "params": [trial.params.get(name, "-") for name in search.space],
        "failure": trial.user_attrs.get("failure", ""),
    }
