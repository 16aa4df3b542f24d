"""What to believe of a dream: each question that was asked of it, answered in words and by its figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from rise_gym._figure_text import counted, ends_of, listed, number_of, points_text, share_text, value_text

if TYPE_CHECKING:
    from rise_gym.trust import TrustFigures

State = Literal["met", "not met", "no aim was set", "not measured"]
Record = Mapping[str, Any]

WITHOUT_UNCERTAINTY = ("policy alone", "adversary")
"""Settings of the exploit probe in which uncertainty has no say."""
DEVIATIONS_AFTER = 2
"""Which of the horizons of `rise_gym.deviations` tells most of a policy that acts on: three chunks."""
LEARNERS = ("RISE", "PPO as a residual", "SAC as a residual", "PPO from scratch", "SAC from scratch")
_AIMED_POINTS = {"RISE": 35, "PPO as a residual": 15, "SAC as a residual": 15}
_PEARSON, _PEARSON_LOW, _MMRV, _AUROC, _TOP_THREE = 0.95, 0.85, 0.03, 0.85, 0.8


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One question about a dream.

    Attributes:
        about: what it is about, a few words. question: as a person would ask it.
        state: whether the aim was met. answer: in plain words.
        figure: the number with its 95 % interval. aim: what was asked for.
    """

    about: str
    question: str
    state: State = "not measured"
    answer: str = ""
    figure: str = "-"
    aim: str = "-"


def verdicts(trust: TrustFigures) -> list[Verdict]:
    """All of them, in the order in which they are read; what was not measured says so."""
    return [
        *_ranking(trust.compared),
        _horizon(trust.drift),
        _deviations(trust.deviations),
        _gate(trust.fidelity),
        _best_chunk(trust.dynamics),
        *_errors(trust.uncertainty),
        _cost(trust.uncertainty),
        _false_success(trust.calibration),
        _exploit(trust.exploit),
        *_learnt(trust),
        _rounds(trust.rounds),
    ]


def in_short(found: list[Verdict]) -> list[tuple[str, str]]:
    """What the verdicts come to: a heading, and what stands below it."""
    headings: tuple[tuple[State, str], ...] = (
        ("met", "As good as was asked for"),
        ("not met", "Not as good as was asked for"),
        ("no aim was set", "Measured without an aim"),
        ("not measured", "Not measured"),
    )
    return [
        (heading, listed([one.about for one in found if one.state == state]))
        for state, heading in headings
        if any(one.state == state for one in found)
    ]


def _aimed(is_met: bool) -> State:
    return "met" if is_met else "not met"


def _ranking(found: Record | None) -> Iterator[Verdict]:
    order = Verdict(
        about="the order of policies",
        question="Do better policies look better in the dream?",
        aim=f"Pearson {_PEARSON}, interval from {_PEARSON_LOW}",
    )
    price = Verdict(
        about="the price of choosing by the dream",
        question="What does choosing by the dream cost?",
        aim=f"MMRV at most {_MMRV}",
    )
    success = {} if found is None else found["agreement"]["success"]
    value, ends = number_of(success.get("pearson", {})), ends_of(success.get("pearson", {}))
    if found is None or value is None:
        yield order
    else:
        sure = ends is not None and ends[0] >= _PEARSON_LOW
        yield replace(
            order,
            state=_aimed(value >= _PEARSON and sure),
            figure=value_text(success["pearson"]),
            answer=_order_in_words(value, sure, len(found["policies"])),
        )
    cost = number_of(success.get("mmrv", {}))
    if cost is None:
        yield price
    else:
        words = f"Up to {100 * cost:.1f} points of success, on the mean over policies; what it ties counts as wrong."
        yield replace(price, state=_aimed(cost <= _MMRV), figure=value_text(success["mmrv"]), answer=words)


def _order_in_words(value: float, sure: bool, count: int) -> str:
    if value >= _PEARSON:
        return "Yes." if sure else f"It looks so, but {count} policies leave it open."
    return "Mostly, less closely than asked." if value >= 0.8 else "No: do not choose policies by imagined success."


def _horizon(found: Record | None) -> Verdict:
    asked = Verdict(
        about="how far ahead rankings hold",
        question="How far ahead does it know which actions are better?",
    )
    ranking = (found or {}).get("ranking")
    if not ranking:
        return asked
    end, most = ranking["breaks_after"], len(ranking["within_a_state"])
    held = most if end is None else end
    words = "As far as was tried." if end is None else f"{counted(end, 'chunk')}; then its order says nothing."
    figure = f"{held} of {counted(most, 'chunk')} (Spearman {ranking['level']:g} or more)"
    return replace(asked, state="no aim was set", figure=figure, answer=words)


def _deviations(found: Record | None) -> Verdict:
    asked = Verdict(
        about="the worth of deviations",
        question="Does it know what a deviation from the policy is worth?",
    )
    if found is None:
        return asked
    row = found["after_ticks"][DEVIATIONS_AFTER]
    told, ends = {"value": row["correlation"], "ci95": row["ci95"]}, ends_of(row)
    if number_of(told) is None or ends is None:
        return asked
    words = "Something: there is a way up for RISE to learn." if ends[0] > 0 else "Nothing that could be told."
    figure = f"{value_text(told)}, {row['ticks']} ticks on"
    return replace(asked, state="no aim was set", figure=figure, answer=words)


def _gate(found: Record | None) -> Verdict:
    asked = Verdict(
        about="action fidelity",
        question="Does a command show where it should, and nowhere else?",
        aim="every check",
    )
    if found is None:
        return asked
    checks = [passed for one in found["commands"].values() for passed in one["passed"].values()]
    failed = [name for name, one in found["commands"].items() if not all(one["passed"].values())]
    words = f"Not where it was told to {listed(failed)}." if failed else "Yes, for both arms and both hands."
    figure = f"{sum(checks)} of {len(checks)} checks"
    return replace(asked, state=_aimed(not failed), figure=figure, answer=words)


def _best_chunk(found: Record | None) -> Verdict:
    asked = Verdict(
        about="the best of eight chunks",
        question="Is the best of eight chunks among the dream's best three?",
        aim=f"in {_TOP_THREE:.0%} of states",
    )
    best = ((found or {}).get("counterfactual") or {}).get("best_in_top_three", {})
    value = number_of(best)
    if value is None:
        return asked
    words = (
        "Often enough." if value >= _TOP_THREE else f"Not in {1 - value:.0%} of states; chance alone would miss 62%."
    )
    return replace(asked, state=_aimed(value >= _TOP_THREE), figure=share_text(best), answer=words)


def _errors(found: Record | None) -> Iterator[Verdict]:
    """Of each kind of error, one chunk ahead, and in words further ahead."""
    if found is None:
        for what in ("pictures", "progress gained"):
            yield _told(what, {})
        return
    errors = found["errors"]
    for what, horizons in errors.items():
        if not any(what.startswith(f"{other}_told_by_") for other in errors):  # a second opinion, which is not trusted
            yield _told(what.replace("_", " "), horizons)


def _told(what: str, horizons: Mapping[str, Record]) -> Verdict:
    asked = Verdict(
        about=f"warnings of errors in {what}",
        question=f"Does it say when it errs in {what}?",
        aim=f"AUROC {_AUROC}",
    )
    areas = {name: one["auroc"] for name, one in horizons.items() if number_of(one["auroc"]) is not None}
    if not areas:
        return asked
    (_, first), (last, further) = next(iter(areas.items())), list(areas.items())[-1]
    value, later = number_of(first) or 0.0, number_of(further) or 0.0
    ahead = last.removeprefix("chunks_")
    if value >= _AUROC:
        words = "Yes." if later >= _AUROC else f"Yes, one chunk ahead; after {ahead} less ({later:.2f})."
    else:
        words = "Somewhat, one chunk ahead; " if value >= 0.65 else "Hardly; "
        words += f"{later:.2f} after {ahead}, where 0.50 is chance."
    return replace(asked, state=_aimed(value >= _AUROC), figure=value_text(first), answer=words)


def _cost(found: Record | None) -> Verdict:
    asked = Verdict(about="the cost of uncertainty", question="What does knowing its uncertainty cost?")
    cost = (found or {}).get("cost")
    if not cost:
        return asked
    ratio = cost["ratio"]
    words = f"A dream step takes {ratio - 1:.0%} longer." if ratio >= 1.01 else "Nothing that could be timed."
    return replace(asked, state="no aim was set", figure=f"{ratio:.2f} times", answer=words)


def _false_success(found: Record | None) -> Verdict:
    asked = Verdict(about="dreamt successes", question="How many dreamt successes are none?")
    if found is None:
        return asked
    wrong = found["false_success"]
    words = (
        f"{wrong['false_successes']} of {wrong['dreamt_successes']}; {wrong['missed_successes']} dreams of true "
        "successes fail."
    )
    figure = share_text(wrong["of_dreamt_successes"]) if wrong["dreamt_successes"] else "none was dreamt"
    return replace(asked, state="no aim was set", figure=figure, answer=words)


def _exploit(found: Record | None) -> Verdict:
    """Met if a gap with uncertainty lies below the one without, its whole interval; not where nothing is exploited."""
    asked = Verdict(
        about="uncertainty against an adversary",
        question="If an adversary exploits the dream, does uncertainty stop it?",
        aim="a smaller gap",
    )
    settings = {} if found is None else found["settings_measured"]
    charged = {name: one["gap"] for name, one in settings.items() if name not in WITHOUT_UNCERTAINTY}
    without = number_of(settings.get("adversary", {}).get("gap", {}))
    gaps = {name: gap for name, gap in charged.items() if number_of(gap) is not None}
    if without is None or not gaps:
        return asked
    name, smallest = min(gaps.items(), key=lambda one: number_of(one[1]) or 0.0)
    ends = ends_of(smallest)
    stopped = ends is not None and ends[1] < without
    alone = ends_of(settings["adversary"]["gap"])
    if alone is not None and alone[0] <= 0:
        words = "This adversary exploits nothing that could be told, so that there is nothing to stop."
        return replace(asked, state="not met", figure=value_text(smallest, signed=True), answer=words)
    words = f"Without it {without:+.2f} of progress is imagined and not true; "
    words += f"{name}, less." if stopped else f"{name}, not less that could be told."
    return replace(asked, state=_aimed(stopped), figure=value_text(smallest, signed=True), answer=words)


def _learnt(trust: TrustFigures) -> Iterator[Verdict]:
    rows = {row["name"]: row for row in trust.learnt}
    base = rows.get("base")
    for name in LEARNERS:
        aim = _AIMED_POINTS.get(name)
        asked = Verdict(
            about=f"what {name} gains",
            question=f"Does {name}, learnt in the dream, help in physics?",
            aim="-" if aim is None else f"{aim} points above the base",
        )
        row = rows.get(name)
        value = None if row is None else number_of(row, "points")
        if row is None or value is None:
            yield asked
            continue
        words = _gain_in_words(row, base)
        state: State = "no aim was set" if aim is None else _aimed(value >= aim)
        yield replace(asked, state=state, figure=f"{points_text(row)} points", answer=words)


def _gain_in_words(row: Record, base: Record | None) -> str:
    ends, rate = ends_of(row, "points"), f"{row['success_rate']:.1%} success"
    if base is not None:
        rate += f", the base {base['success_rate']:.1%}"
    if ends is None or ends[0] <= 0 <= ends[1]:
        return f"No difference that could be told: {rate}."
    return f"{'Yes' if ends[0] > 0 else 'It harms'}: {rate}."


def _rounds(found: Record | None) -> Verdict:
    asked = Verdict(
        about="a second round",
        question="Does a second round of policy and world model help?",
        aim="more than one round",
    )
    pairs = {} if found is None else {name: row for name, row in found["paired"].items() if name.startswith("two")}
    if not pairs:
        return asked
    name, row = next(iter(pairs.items()))
    ends = ends_of(row, "success_points")
    better, worse = (ends is not None and ends[0] > 0), (ends is not None and ends[1] < 0)
    words = "Yes." if better else "It harms." if worse else "No difference that could be told."
    figure = f"{points_text(row, 'success_points')} points"
    return replace(asked, state=_aimed(better), figure=figure, answer=f"{words} ({name})")
