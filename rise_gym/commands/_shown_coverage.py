"""A coverage report, as `inspect` and `import --show` print it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rise_gym.coverage import CoverageReport


_TOLD = 6  # instructions that are printed


def show_coverage(report: CoverageReport, name: str) -> None:
    """Print tables of joints and cameras, what is missing, and what looks wrong."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    progress = {0: "unknown", report.episodes: "measured"}.get(report.progress, f"measured in {report.progress}")
    console.print(
        f"{name}: {report.episodes} episodes of {report.task}, {report.hours:.2f} h, {report.successes} successful, "
        f"progress {progress}, {', '.join(f'{count} {name}s' for name, count in report.sources.items())}",
        markup=False,
    )
    if len(report.instructions) > 1:
        some = sorted(report.instructions.items(), key=lambda one: -one[1])
        told = [f"{count} times {text!r}" for text, count in some[:_TOLD]]
        rest = f", and {len(some) - _TOLD} other instructions" if len(some) > _TOLD else ""
        console.print(f"asked for: {', '.join(told)}{rest}", markup=False)
    joints = Table("joint", "card", "targets", "of the range", "at its ends", "measured", "outside")
    for joint in report.joints:
        joints.add_row(
            joint.name, *(f"{low:.3g} to {high:.3g}" for low, high in (
                (joint.card_low, joint.card_high), (joint.action_low, joint.action_high))),
            f"{joint.used:.0%}", f"{joint.at_limit:.1%}", f"{joint.state_low:.3g} to {joint.state_high:.3g}",
            f"{joint.outside:.1%}",
        )  # fmt: skip
    console.print(joints)
    cameras = Table("camera", "brightness", "black", "frozen")
    for camera in report.cameras:
        cameras.add_row(camera.name, f"{camera.brightness:.0f} of 255", f"{camera.black:.1%}", f"{camera.frozen:.1%}")
    console.print(cameras)
    console.print(
        f"rows: {report.missing_rows} missing, {report.repeated_rows} twice, longest gap {report.longest_gap_s:.2f} s; "
        f"{len(report.near_duplicate_starts)} pairs of starts nearly alike",
        markup=False,
    )
    for finding in report.findings:
        colour = "red" if finding.level == "error" else "yellow"
        console.print(f"[{colour}]{finding.level}[/{colour}] {escape(str(finding))}")
    if not report.findings:
        console.print("nothing looks wrong")
