"""The model card: what the Hub and its leaderboards read."""

import json

import pytest
from hub_runs import EVALUATION, REPO, push, summary
from huggingface_hub import ModelCard

from jaxfactory.hub import model_card


# The client's own; users do not see it.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_the_card_is_what_the_leaderboard_reads(server, run):
    push(run)
    text = server.files(REPO)["README.md"].decode()
    card = ModelCard(text)
    assert card.data.library_name == "jaxfactory"
    assert card.data.tags == [
        "jaxfactory", "deep-reinforcement-learning", "reinforcement-learning",
        "vizdoom", "doom", "doom_health_gathering_supreme",
    ]  # fmt: skip
    (entry,) = card.data.eval_results
    assert (entry.task_type, entry.metric_type) == (
        "reinforcement-learning",
        "mean_reward",
    )
    assert entry.dataset_name == entry.dataset_type == "doom_health_gathering_supreme"
    assert entry.verified is False
    head = card.data.to_dict()
    value = head["model-index"][0]["results"][0]["metrics"][0]["value"]
    assert [float(part) for part in value.split("+/-")] == [13.1, 5.7]
    for words in (
        "| raw return | 13.10 | 0.57 | 5.70 | 7.41 | 2.40 | 21.00 |",
        f"jaxfactory pull {REPO} --run runs/doom",
        "--episodes 100 --seed 1000 --num-envs 20 --checkpoint best",
        "jaxfactory train --run runs/doom --total-frames 4294968320",
        "100 full episodes with sampled actions",
        "- `optimizer.safetensors`:",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("scenario", "name"),
    [
        ("health_gathering_supreme", "doom_health_gathering_supreme"),
        ("maps/my_maze.cfg", "doom_my_maze"),
        ("maps/mine.py:MAZE", "doom_maze"),
        ("my.maps:MAZE", "doom_maze"),
        ("gymnasium:CartPole-v1", "CartPole-v1"),
    ],
)
def test_environments_are_named_as_others_name_them(scenario, name):
    assert model_card.environment_id(scenario) == name


def test_a_match_has_frags_in_its_card(server, run):
    match = {"frags": summary(7.5, 1.25), "place": summary(1.5, 0.5), "first_places": 9}
    (run / "evaluation.json").write_text(json.dumps({**EVALUATION, **match}))
    push(run)
    card = server.files(REPO)["README.md"].decode()
    assert "| frags | 7.50 | 0.12 | 1.25 | 6.25 | 2.40 | 21.00 |" in card
