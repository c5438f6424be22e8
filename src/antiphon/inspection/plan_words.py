"""What terminal and page say of a plan for other machines."""

from __future__ import annotations

from antiphon.inspection.scaling.communication import Sharding
from antiphon.inspection.scaling.plan import LONGEST, SHORTEST, RunOption, RunPlan
from antiphon.inspection.words import duration

GB = 1e9


def plan_facts(plan: RunPlan) -> list[tuple[str, str]]:
    """Rows of figures: what, and how much."""
    best, device = plan.chosen, plan.cluster.device
    if best is None:
        small = min(plan.options, key=lambda option: option.memory.total)
        over = (
            f"nothing: {small} takes {small.memory.total / GB:,.1f} GB of a {device.name}'s {device.memory / GB:,.0f}. "
            f"{_largest_part(small)}"
        )
        return [("fits", over)]
    low, high = (duration(seconds) for seconds in plan.range)
    least, most = plan.gpu_hours_range
    steps = f"{plan.steps:,.0f} steps, {best.step.total:.3g} s each"
    rows = [
        ("sharding", f"{best}: {_reason(plan)}"),
        ("recipe", f"training: {best.recipe}"),
        ("training", f"{duration(plan.seconds)} ({low} to {high}): {steps}, bound by {best.step.bound}"),
        ("speed", f"{plan.tokens_per_second:,.0f} tokens/s, {100 * plan.utilization:.0f} % of the peak of busy GPUs"),
        ("GPU hours", f"{hours(plan.gpu_hours)} ({hours(least)} to {hours(most)})"),
        ("memory", f"{best.memory.total / GB:,.1f} of {device.memory / GB:,.0f} GB a GPU: {_parts(best)}"),
    ]
    if best.memory.validation > sum(best.memory.parts.values()):
        rows.append(("validation", f"takes {best.memory.validation / GB:,.1f} GB, more than training"))
    if best.memory.host:
        rows.append(("host memory", f"{best.memory.host / GB:,.1f} GB for each GPU, with the network that validates"))
    if best.traffic.bytes:
        hidden = (
            "all hidden" if best.step.exposed < 0.01 * best.step.total else f"{_seconds(best.step.exposed)} not hidden"
        )
        text = f"{size(best.traffic.bytes)} a step and GPU, {_seconds(best.step.communication)}, {hidden}"
        rows.append(("communication", text))
    if best.imbalance > 1.02:
        rows.append(("slowest GPU", f"computes {best.imbalance:.2f} times as long as a mean one: batches differ"))
    if plan.price is not None:
        cost, low_cost, high_cost = (each * plan.price for each in (plan.gpu_hours, least, most))
        rows.append(("cost", f"{cost:,.2f} ({low_cost:,.2f} to {high_cost:,.2f}), at {plan.price:g} an hour"))
    return rows


def option_rows(plan: RunPlan) -> list[tuple[str, str, str, str]]:
    """Rows of all ways to run: the name, the memory of a GPU, the seconds of a step, the bytes sent in it."""
    rows = []
    for option in plan.options:
        memory = f"{option.memory.total / GB:,.1f} GB" + ("" if option.fits else ", too much")
        sent = size(option.traffic.bytes) if option.traffic.bytes else "nothing"
        rows.append((str(option), memory, _seconds(option.step.total), sent))
    return rows


OPTION_HEAD = ("way to run", "memory", "step", "sent")


def plan_notes(plan: RunPlan) -> list[str]:
    """How the figures were made, and what stands in the way."""
    notes = [
        "Computed from data sheets, the shapes of the network and the batches of the data; nothing was measured on "
        f"such a device. Published runs since 2022 took {SHORTEST:g} to {LONGEST:g} times as long as is computed for "
        "them. Validations, snapshots and the start come on top."
    ]
    if plan.busy < plan.cluster.devices:
        idle, wider = plan.cluster.devices - plan.busy, plan.wider
        what = f"{plan.accumulate} micro-batch{'es' if plan.accumulate > 1 else ''}"
        text = (
            f"A step has {what} (`training.accumulate`), so {idle:,} of the {plan.cluster.devices:,} devices would "
            "have nothing to do."
        )
        if wider is not None and wider.chosen is not None:
            text += (
                f" `accumulate: {wider.accumulate}` gives each of them work: {wider.tokens_per_second:,.0f} tokens/s, "
                f"the same data in {wider.steps:,.0f} steps and {duration(wider.seconds)}, {hours(wider.gpu_hours)} "
                "GPU hours. Larger steps need another learning rate."
            )
        notes.append(text)
    return notes


def plan_sentence(plan: RunPlan) -> str:
    """The plan in one sentence."""
    if plan.chosen is None:
        return f"{plan.cluster}: the run does not fit ({plan_facts(plan)[0][1]})"
    low, high = (duration(seconds) for seconds in plan.range)
    return (
        f"{plan.cluster}, computed from data sheets: {plan.chosen}, about {duration(plan.seconds)} of training ({low} "
        f"to {high}), {hours(plan.gpu_hours)} GPU hours, {plan.chosen.memory.total / GB:,.1f} GB a GPU."
    )


def hours(value: float) -> str:
    """Hours with a sensible number of digits."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def size(count: float) -> str:
    """Bytes as GB or MB."""
    return f"{count / GB:,.2f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 0.1 else f"{1000 * seconds:.2g} ms"


def _reason(plan: RunPlan) -> str:
    """Why this way was chosen."""
    best, first = plan.chosen, plan.options[0]
    assert best is not None
    if best is first:
        return "it fits, and is the simplest" if best.sharding is not Sharding.ONE else "it fits"
    if not first.fits:
        return f"{first} takes {first.memory.total / GB:,.1f} GB"
    return f"{first} takes {first.step.total:.3g} s a step"


def _parts(option: RunOption) -> str:
    """The largest parts of the memory."""
    parts = sorted(option.memory.parts.items(), key=lambda part: -part[1])
    return ", ".join(f"{name} {amount / GB:,.1f}" for name, amount in parts[:4] if amount >= 5e7)


def _largest_part(option: RunOption) -> str:
    """What to change if nothing fits."""
    if option.memory.validation > sum(option.memory.parts.values()):
        return "Take larger devices: the whole network that validates takes most of it."
    name = max(option.memory.parts, key=lambda part: option.memory.parts[part])
    if name in ("activations", "loss"):
        return "Lower `training.batch_tokens`: activations take most of it."
    return f"Take more or larger devices, or a smaller network: {name} take most of it."
