"""Stores the results of a training run: summary, learning curves and GIF.

``python benchmarks/learning.py RUN`` reads a run that was evaluated with
``jaxfactory evaluate --render-mp4`` and writes to benchmarks/results/:
``<name>.json`` (configuration, evaluation, times, machine), ``<name>.png`` (curves),
``<name>.gif`` and ``<name>_strip.png`` (the agent, from the evaluation's video).
"""

import argparse
import json
import sys
from pathlib import Path

from common import machine, output, training


def summarize(run: Path, rows: list[dict[str, float]]) -> dict:
    """Return the run's time and frames, and the agent's scores."""
    evaluation = json.loads((run / "evaluation.json").read_text())
    evaluation.pop("each")
    last = rows[-1]
    seconds = last["time/wall_clock"]
    return {
        "machine": machine.describe(),
        "config": json.loads((run / "config.json").read_text()),
        "frames": last["frames"],
        "minutes": round(seconds / 60, 2),
        "frames_per_second": round(last["frames"] / seconds),
        "first_reached": _first_reached(rows),
        "evaluation": evaluation,
    }


def _first_reached(rows: list[dict[str, float]]) -> dict | None:
    """Return when the last 100 episodes' raw return first had mean - std >= 5."""
    for row in rows:
        raw = row.get("episode/raw_return")
        if raw is not None and raw - row["episode/raw_return_std"] >= 5:
            return {"frames": row["frames"], "seconds": round(row["time/wall_clock"])}
    return None


def plot(rows: list[dict[str, float]], path: Path, title: str) -> None:
    """Draw the returns over frames and over time."""
    pyplot = output.load_pyplot()
    rows = [row for row in rows if "episode/shaped_return" in row]
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    millions = [row["frames"] / 1e6 for row in rows]
    minutes = [row["time/wall_clock"] / 60 for row in rows]
    for axis, x, label in (
        (axes[0], millions, "million frames"),
        (axes[1], minutes, "wall-clock minutes"),
    ):
        for name, words in (
            ("shaped_return", "shaped return"),
            ("raw_return", "raw return"),
        ):
            mean = [row[f"episode/{name}"] for row in rows]
            std = [row[f"episode/{name}_std"] for row in rows]
            (line,) = axis.plot(x, mean, label=f"{words}, mean of 100 episodes")
            low = [m - s for m, s in zip(mean, std, strict=True)]
            high = [m + s for m, s in zip(mean, std, strict=True)]
            axis.fill_between(x, low, high, alpha=0.2, color=line.get_color())
        axis.axhline(5, linestyle=":", color="grey")
        axis.set_xlabel(label)
        axis.set_xlim(left=0)
        axis.grid(alpha=0.3)
    axes[0].legend(loc="upper left")
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


def moving_pictures(video: Path, gif: Path, strip: Path) -> None:
    """Write a short GIF and a strip of four frames from a video."""
    import av
    from PIL import Image

    with av.open(str(video)) as container:
        frames = [
            frame.to_image().resize((320, 240), Image.Resampling.LANCZOS)
            for number, frame in enumerate(container.decode(video=0))
            # Every fifth of 35 frames per second, from second 5 on.
            if number % 5 == 0 and number >= 175
        ]
    shown = [
        frame.resize((200, 150)).quantize(32, method=Image.Quantize.MEDIANCUT)
        for frame in frames[:60]
    ]
    shown[0].save(
        gif, save_all=True, append_images=shown[1:], duration=143, loop=0, optimize=True
    )
    # Not the last frame: the screen is red when the agent dies.
    picks = [frames[(2 * i + 1) * len(frames) // 8] for i in range(4)]
    wide = Image.new("RGB", (4 * 320, 240))
    for column, frame in enumerate(picks):
        wide.paste(frame, (column * 320, 0))
    wide.save(strip)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run directory, evaluated with a video")
    parser.add_argument("--name", default="health_gathering_supreme")
    arguments = parser.parse_args()
    run: Path = arguments.run
    needed = [run / n for n in ("metrics.jsonl", "evaluation.json", "evaluation.mp4")]
    for file in needed:
        if not file.is_file():
            command = f"jaxfactory evaluate --render-mp4 --run {run}"
            print(f"{file} is missing; run: {command}", file=sys.stderr)
            return 2
    rows = training.read_metrics(run)
    result = summarize(run, rows)
    output.FOLDER.mkdir(exist_ok=True)
    base = output.FOLDER / arguments.name
    base.with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")
    where = result["machine"]
    title = f"{arguments.name}, {where['cores']} cores of {where['cpu']}"
    plot(rows, base.with_suffix(".png"), title)
    strip = base.with_name(f"{arguments.name}_strip.png")
    moving_pictures(needed[2], base.with_suffix(".gif"), strip)
    print(json.dumps({k: result[k] for k in ("minutes", "frames_per_second")}))
    print(json.dumps(result["evaluation"]["raw_return"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
