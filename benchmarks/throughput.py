"""How fast imagination is: through the native vector environment, beside the replica, and beside the machine's peak.

    python benchmarks/throughput.py [--quick]

A step is one chunk. View-frames are all frames that a step predicts and the value reads (ticks of the chunk times
cameras); the environment decodes the newest, `decoded` counts what it costs to decode every one. Work in floating point
is counted by `torch.utils.flop_counter`; the peak is what a large float32 matrix product reaches in the same run.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _common as common
import gymnasium
import numpy as np
import torch
import tyro
from torch.utils.flop_counter import FlopCounterMode

import rise_gym  # noqa: F401  (registers the ids)
from rise_gym.errors import RenderingUnavailable
from rise_gym.types import Observation

IMPORT = "import time; t = time.perf_counter(); import rise_gym; print(time.perf_counter() - t)"
FIRST_STEP = """
import time; t = time.perf_counter()
import gymnasium, rise_gym
env = gymnasium.make("{dream}", world_model="{world_model}")
env.reset(seed=0); env.step(env.action_space.sample())
print(time.perf_counter() - t)
"""


def main(
    *,
    quick: bool = False,
    output: Path | None = None,
    world_model: str = common.WORLD_MODEL,
    batches: tuple[int, ...] = (1, 8, 32),
    seconds: float = 10.0,
) -> None:
    """Measure and record.

    Args:
        quick: a miniature to see that it works; its figures mean little.
        output: where to write the JSON.
        world_model: a folder or bundled name.
        batches: how many dreams side by side.
        seconds: how long to measure each.
    """
    seconds = min(seconds, 0.3) if quick else seconds
    with common.recorded("throughput", output, quick) as figures:
        figures["threads"] = torch.get_num_threads()
        size = 256 if quick else 1536
        peaks = [matmul_gflops(size)]
        figures["dream"] = rows = []
        for batch in batches:
            rows.append(dream_speed(world_model, batch, seconds))
            peaks.append(matmul_gflops(size))
        figures["matmul_gflops"] = peak = max(peaks)
        for row in rows:
            row["fraction_of_peak"] = row["steps_per_s"] * row["gflop_per_step"] / peak
        figures["replica"] = replica = replica_speed(seconds)
        figures["import_s"] = fresh_seconds(IMPORT, runs=1 if quick else 5)
        first_step = FIRST_STEP.format(dream=common.DREAM, world_model=world_model)
        figures["make_and_first_step_s"] = fresh_seconds(first_step, runs=1 if quick else 3)
        common.show(
            "Imagination",
            ("batch", "steps/s", "view-frames/s", "all decoded/s", "x real time", "GFLOP/step", "of matmul peak"),
            [
                (
                    str(row["batch"]),
                    round(row["steps_per_s"], 1),
                    round(row["view_frames_per_s"]),
                    round(row["decoded_view_frames_per_s"]),
                    round(row["real_time_factor"], 1),
                    row["gflop_per_step"],
                    f"{row['fraction_of_peak']:.0%}",
                )
                for row in rows
            ],
        )
        common.show(
            "In the same run",
            ("what", "figure"),
            [
                ("replica steps/s (one env, rendering included)", replica["steps_per_s"] if replica else "no OpenGL"),
                ("matmul peak, GFLOP/s", float(peak)),
                ("import rise_gym, s", figures["import_s"]),
                ("gym.make, reset and first step of the dream, s", figures["make_and_first_step_s"]),
            ],
        )


def matmul_gflops(size: int, repeats: int = 5) -> float:
    """The best of some float32 matrix products."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    best = min(_timed(lambda: a @ b) for _ in range(repeats + 1))
    return 2 * size**3 / best / 1e9


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def dream_speed(world_model: str, batch: int, seconds: float) -> dict[str, Any]:
    """Steps of the vector env with autoreset, and of the same with every frame decoded."""
    env = gymnasium.make_vec(common.DREAM, num_envs=batch, world_model=world_model)
    env.reset(seed=0)
    inner: Any = env.unwrapped
    actions = hold_still(inner.task, env.reset(seed=0)[0]["proprio"], inner.chunk)
    env.step(actions)  # the first call allocates
    rate = rate_of(lambda: env.step(actions), seconds)
    decoded = rate_of(lambda: (env.step(actions), inner.chunk_frames()), seconds)
    env.reset(seed=0)
    with FlopCounterMode(display=False) as counter:
        env.step(actions)
    gflop = counter.get_total_flops() / batch / 1e9
    frames = inner.chunk * len(inner.task.cameras)
    env.close()
    return {
        "batch": batch,
        "steps_per_s": rate * batch,
        "view_frames_per_s": rate * batch * frames,
        "decoded_view_frames_per_s": decoded * batch * frames,
        "real_time_factor": rate * batch * inner.chunk / inner.task.control_hz,
        "gflop_per_step": gflop,
    }


def hold_still(task: Any, proprio: np.ndarray, chunk: int) -> np.ndarray:
    """Chunks (B, K, A) that command the present pose (B, P)."""
    pose = np.clip(task.scale_action(proprio), -1, 1)
    return np.repeat(pose[:, None], chunk, axis=1).astype(np.float32)


def rate_of(step: Callable[[], object], seconds: float) -> float:
    """Calls a second."""
    began, calls = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < seconds or calls < 2:
        step()
        calls += 1
    return calls / spent


def replica_speed(seconds: float) -> dict[str, float] | None:
    """Steps of one replica, drawing all cameras at each step's end; None without OpenGL."""
    try:
        env = gymnasium.make(common.REPLICA, disable_env_checker=True)
        observation, _ = env.reset(seed=common.HELD_OUT_SEED)
    except RenderingUnavailable:
        return None
    inner: Any = env.unwrapped

    def step(seen: Observation = observation) -> None:
        actions = hold_still(inner.task, seen["proprio"][None], inner.chunk)[0]
        if any(env.step(actions)[2:4]):
            env.reset(seed=common.HELD_OUT_SEED)

    rate = rate_of(step, seconds)
    env.close()
    return {"steps_per_s": rate, "real_time_factor": rate * inner.chunk / inner.task.control_hz}


def fresh_seconds(code: str, runs: int) -> float:
    """What `code` says of itself in new processes, the median."""
    found = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(runs)
    ]
    return float(np.median(found))


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
