"""Round robins: equal seats, results, files, and what is refused."""

import json
import re

import av
import numpy as np
import pytest
from tiny import tiny_config

from jaxfactory._util.errors import UserError
from jaxfactory.cli import main
from jaxfactory.tournament import entrants, matches, page
from jaxfactory.tournament.entrants import Entrant
from jaxfactory.tournament.matches import Result
from jaxfactory.tournament.options import TournamentOptions
from jaxfactory.tournament.summary import Pair, most_exciting, summary
from jaxfactory.training.loop import train


def result(mine, theirs, seat=0, changes=0, seats=2):
    actions = np.zeros((1, seats, 1), np.int64)
    return Result(
        (mine, theirs), seat, (changes, mine + theirs, 0), 1, 100, actions, 0.0
    )


def table():
    """Three agents: a beats b by 2 wins and 2 draws, c loses all."""
    found = [Entrant(name, None) for name in ("a", "<b>", "c")]
    pairs = [
        Pair(0, 1, [result(3, 1), result(2, 0, 1), result(1, 1), result(0, 0, 1)]),
        Pair(0, 2, [result(1, 0, changes=5)] * 4),
        Pair(1, 2, [result(1, 0)] * 4),
    ]
    options = TournamentOptions(agents=("a", "<b>", "c"), matches=4)
    return summary(options, found, pairs), pairs


def test_each_agent_has_each_seat_equally_often():
    seats = matches.pair_seats(4)
    assert seats.rows(0).tolist() == [0, 2, 5, 7]
    assert seats.rows(1).tolist() == [1, 3, 4, 6]
    assert seats.learning_rows().tolist() == []


@pytest.mark.parametrize(
    ("wanted", "num_envs", "expected"),
    [(20, 16, 8), (6, 16, 6), (2, 64, 2), (20, 2, 2), (10, 12, 6), (16, 16, 8)],
)
def test_parallel_matches_are_even_and_no_more_than_needed(wanted, num_envs, expected):
    assert matches.parallel_matches(wanted, num_envs) == expected


def test_excitement_counts_changes_of_the_lead():
    course = np.array([[0, 0], [1, 0], [1, 1], [1, 2], [2, 2], [3, 2], [3, 3]])
    # Ahead: first, second, first; six kills; a draw.
    assert matches.excitement(course) == (2, 6, 0)
    # A suicide is no kill.
    assert matches.excitement(np.array([[1, 0], [0, 0], [0, 2]])) == (1, 2, -2)


def test_scores_and_intervals_of_a_pair():
    found, pairs = table()
    first = found["pairs"][0]
    assert (first["wins"], first["draws"], first["losses"]) == (2, 2, 0)
    assert first["score"] == 0.75
    # Wilson with 3 of 4.
    assert first["score_low"] == pytest.approx(0.3006, abs=1e-3)
    assert [agent["name"] for agent in found["agents"]] == ["a", "<b>", "c"]
    values = [agent["rating"] for agent in found["agents"]]
    assert values[0] > values[1] > values[2]
    assert sum(values) == pytest.approx(3000)
    assert found["most_exciting"]["lead_changes"] == 5
    assert most_exciting(pairs).frags == (1, 0)
    assert page.totals(found, "<b>") == (4, 2, 2)
    assert page.totals(found, "c") == (0, 0, 8)


def test_a_match_of_two_agents_is_shown_rather_than_one_with_the_bot():
    dull, thrilling = result(0, 0), result(9, 8, changes=9, seats=1)
    assert most_exciting([Pair(0, 1, [thrilling]), Pair(0, 2, [dull])]) is dull


def test_the_page_shows_the_matrix_and_escapes_names():
    found, _ = table()
    text = page.render(found, None)
    assert "<b>" not in re.sub(r'<b style="left:', "", text)
    assert "&lt;b&gt;" in text
    assert text.count("2 / 2 / 0") == 1
    assert text.count("0 / 2 / 2") == 1
    assert "75 %, 30 to 95 %" in text
    assert "25 %, 5 to 70 %" in text
    assert not re.findall(r"(?:src|href)=\"?https?:", text)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "needs two agents or more, and got 0"),
        (["runs/none"], "needs two agents or more, and got 1"),
        (["bot", "bot"], "bot is named twice"),
        (["runs/none", "bot"], "the agent runs/none cannot be read: runs/none"),
        (["runs/a@soon", "bot"], "'soon' must be best, latest, or the frames"),
        (["runs/a", "bot", "--matches", "3"], "--matches 3 must be even"),
        (["runs/a", "bot", "--matches", "0"], "--matches 0 must be greater than 0"),
    ],
)
def test_what_cannot_be_a_tournament_is_refused(args, words, capsys, tmp_path,
                                                monkeypatch):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main.main(["tournament", *args]) == 2
    assert words in capsys.readouterr().err


@pytest.fixture(scope="module")
def runs_of_two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, seed in (("one", 1), ("two", 2)):
        config = tiny_config("duel", env={"timeout": 100}, seed=seed)
        train(config, folder / name)
    return folder


@pytest.mark.vizdoom
def test_a_tournament_of_two_runs_and_the_bot(runs_of_two, capsys, monkeypatch):
    monkeypatch.chdir(runs_of_two)
    args = ["one", "two@latest", "bot", "--matches", "2", "--timeout", "120"]
    assert main.main(["tournament", *args, "--output", "out"]) == 0
    found = json.loads((runs_of_two / "out/tournament.json").read_text())
    pairs = [(pair["first"], pair["second"]) for pair in found["pairs"]]
    assert pairs == [("one", "two@latest"), ("one", "bot"), ("two@latest", "bot")]
    for pair in found["pairs"]:
        assert pair["wins"] + pair["draws"] + pair["losses"] == 2
    seats = [match["first_seat"] for match in found["pairs"][0]["matches"]]
    assert sorted(seats) == [0, 1]
    assert [agent["frames_trained"] for agent in found["agents"]] == [128, 128, 0]
    # 120 tics from both seats, side by side, and the first image.
    with av.open(str(runs_of_two / "out/tournament.mp4")) as video:
        images = list(video.decode(video=0))
        assert len(images) == 121
        assert (images[0].width, images[0].height) == (1280, 480)
    assert "data:video/mp4;base64," in (runs_of_two / "out/tournament.html").read_text()
    assert "rating" in capsys.readouterr().out


@pytest.mark.vizdoom
@pytest.mark.slow
def test_the_same_seed_gives_the_same_tournament(runs_of_two, monkeypatch, capsys):
    monkeypatch.chdir(runs_of_two)
    common = ["--matches", "4", "--num-envs", "4", "--timeout", "60", "--no-video"]
    found = []
    for output in ("first", "second"):
        assert main.main(["tournament", "one", "two", *common, "--output", output]) == 0
        text = (runs_of_two / output / "tournament.json").read_text()
        found.append(json.loads(text)["pairs"])
    assert found[0] == found[1]
    assert [match["first_seat"] for match in found[0][0]["matches"]] == [0, 1, 0, 1]
    assert not (runs_of_two / "first/tournament.mp4").exists()


def test_agents_that_see_different_images_are_refused(tmp_path):
    saved = [
        Entrant(str(width), _Saved(tiny_config("duel", env={"width": width})))
        for width in (128, 64)
    ]
    with pytest.raises(UserError, match="128 was trained with width 128 and 64 with"):
        entrants.shared_env(saved)


class _Saved:
    def __init__(self, config):
        self.config, self.frames = config, 0
