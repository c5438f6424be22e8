"""Plans for other machines: devices, what is sent, what is chosen, and published runs."""

from __future__ import annotations

import importlib.util
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from antiphon.errors import ConfigError, UsageError
from antiphon.inspection.plan_words import option_rows, plan_facts, plan_notes, plan_sentence
from antiphon.inspection.scaling.communication import Sharding, step_traffic
from antiphon.inspection.scaling.devices import DEVICES, read_cluster
from antiphon.inspection.scaling.flops import BatchShape
from antiphon.inspection.scaling.memory import MemorySettings, gpu_memory
from antiphon.inspection.scaling.plan import LONGEST, SHORTEST, PlannedRun, plan_run
from antiphon.inspection.scaling.shape import NetworkShape

ROOT = Path(__file__).parents[2]


def benchmark(name: str) -> ModuleType:
    """A file of benchmarks/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where its dataclasses look for their types
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def published() -> ModuleType:
    """The benchmark with the published runs."""
    return benchmark("scaling_published")


@pytest.fixture(scope="module")
def base(published: ModuleType) -> NetworkShape:
    return published.shape_of(32_000, preset="base")


@pytest.fixture(scope="module")
def large(published: ModuleType) -> NetworkShape:
    """About 11 billion parameters, as T5-11B."""
    sizes = {"d_model": 1024, "num_heads": 128, "head_dim": 128, "ffn_dim": 65_536}
    return published.shape_of(32_128, encoder_layers=24, decoder_layers=24, preset="big", **sizes)


def run_of(shape: NetworkShape, *, accumulate: int = 64, rows: int = 64, **settings: object) -> PlannedRun:
    batch = BatchShape(rows, 64, 64, rows * 60)
    made = MemorySettings(half=True, **settings)  # type: ignore[arg-type]
    return PlannedRun(shape, [batch], batch, rows * 120, 10_000, accumulate, made)


def test_clusters_are_read_from_their_names() -> None:
    for text, nodes, per_node, device in (
        ("64xH200", 8, 8, "H200"), ("8xA100-80G", 1, 8, "A100"), ("2x8xH100", 2, 8, "H100"),
        ("h100 pcie", 1, 1, "H100-PCIe"), ("4 * rtx4090", 1, 4, "RTX-4090"), ("2x1xL4", 2, 1, "L4"),
    ):  # fmt: skip
        found = read_cluster(text)
        assert (found.nodes, found.per_node, found.device) == (nodes, per_node, DEVICES[device])
        assert found.devices == nodes * per_node and read_cluster(str(found)) == found
    own = read_cluster("2x4x96GB,400TFLOP/s,200GB/s,100Gbit/s,3TB/s")
    assert (own.nodes, own.per_node, own.device.memory, own.device.matrix) == (2, 4, 96e9, 400e12)
    assert (own.device.link, own.device.network, own.device.bandwidth) == (200e9, 12.5e9, 3e12)
    assert own.ring == 4 * 12.5e9 and read_cluster("4x96GB,400TFLOPS,200GB/s").ring == 200e9
    for device in DEVICES.values():
        assert device.matrix >= device.single > 1e12 and device.memory >= 16e9
        assert device.bandwidth > device.link > device.network


@pytest.mark.parametrize(
    "text, said",
    [
        ("8xH1000", "did you mean `H100`?"),
        ("64xTPU", "Known: B200, GB200, H200"),
        ("eight", "Known:"),
        ("0xH100", "number of devices"),
        ("12xH100", "1x8xH100"),
        ("8x80GB,400TFLOP/s", "a memory, a matrix rate and a link"),
        ("8x80GB,400TFLOP/s,fast", "`fast`"),
    ],
)
def test_unknown_devices_are_refused_with_what_is_known(text: str, said: str) -> None:
    with pytest.raises(UsageError, match="`world` must") as caught:
        read_cluster(text)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_sent_grows_as_the_formulas_say(base: NetworkShape) -> None:
    eight, two = read_cluster("8xH100"), read_cluster("2x8xH100")
    ddp = step_traffic(base, Sharding.DDP, eight, micro_batches=3, half=True)
    assert ddp.bytes == pytest.approx(2 * 7 / 8 * 4 * base.parameters)  # once a step, whatever the micro-batches
    sharded = step_traffic(base, Sharding.FSDP, eight, micro_batches=3, half=True)
    layers = base.parameters - base.root
    assert sharded.bytes == pytest.approx(3 * 7 / 8 * (2 * (2 * layers + base.root) + 4 * base.parameters))
    hybrid = step_traffic(base, Sharding.HYBRID, two, micro_batches=3, half=True)
    assert hybrid.gathered == sharded.gathered and hybrid.between == pytest.approx(3 * 4 * base.parameters / 8)


def test_two_processes_send_what_is_computed() -> None:
    traffic = benchmark("scaling_traffic")
    for (way, half), found in zip(traffic.CASES, traffic.run("tiny", processes=2, accumulate=4), strict=True):
        assert found["bytes"] == pytest.approx(found["computed"], rel=0.005), (way, half)  # shards are padded
        assert found["collectives"] - 1 <= found["calls"] <= found["collectives"], (way, half)  # but for one of scalars
        assert found["small"] < 500


def test_the_simplest_way_that_fits_is_chosen(base: NetworkShape, large: NetworkShape) -> None:
    plan = plan_run(run_of(base), read_cluster("64xH200"), price=4.0)
    assert plan.chosen is not None and plan.chosen.sharding is Sharding.DDP and not plan.chosen.checkpoint
    assert plan.seconds == pytest.approx(10_000 * plan.chosen.step.total)
    assert plan.gpu_hours == pytest.approx(64 * plan.seconds / 3600)
    assert plan.as_dict()["cost"] == pytest.approx(4 * plan.gpu_hours)
    assert 0.05 < plan.utilization < 0.6
    # Weights, gradients and Adam's state are 16 bytes a parameter: 174 GB.
    assert 10.5e9 < large.parameters < 11.5e9
    tight = plan_run(run_of(large), read_cluster("64xA100-80G"))
    assert not tight.options[0].fits and tight.options[0].memory.total > 16 * large.parameters
    assert tight.chosen is not None and tight.chosen.sharding in (Sharding.FSDP, Sharding.HYBRID)
    assert tight.chosen.step.total >= min(each.step.total for each in tight.options if each.fits)
    nothing = plan_run(run_of(large, rows=4096), read_cluster("1xT4"))
    assert nothing.chosen is None and nothing.seconds == 0 and "nothing" in plan_facts(nothing)[0][1]
    assert "does not fit" in plan_sentence(nothing) and nothing.as_dict()["chosen"] is None


def test_memory_is_split_by_sharding_and_saved_by_settings(base: NetworkShape) -> None:
    batch, eight = BatchShape(64, 64, 64, 4096), read_cluster("8xH100")
    plain = MemorySettings(half=True)
    parts = {way: gpu_memory(base, batch, plain, way, eight).parts for way in Sharding}
    assert parts[Sharding.DDP]["optimizer"] == 8 * base.parameters == 8 * parts[Sharding.FSDP]["optimizer"]
    sharded = gpu_memory(base, batch, plain, Sharding.FSDP, eight)
    assert sharded.host == 4 * base.parameters and parts[Sharding.DDP]["gathered layers"] == 0
    assert sharded.validation == pytest.approx(1.5e9 + (4 + 12 / 8) * base.parameters)  # the whole network, and shards
    less = gpu_memory(base, batch, replace(plain, checkpoint=True), Sharding.DDP, eight)
    assert less.parts["activations"] < 0.4 * parts[Sharding.DDP]["activations"]
    away = gpu_memory(base, batch, replace(plain, offload=True), Sharding.FSDP, eight)
    assert away.parts["weights"] == 0 and away.host == pytest.approx((4 + 16 / 8) * base.parameters)
    more = gpu_memory(base, batch, replace(plain, ema=True, teacher=10**9), Sharding.DDP, eight).parts
    assert more["teacher"] == 4e9 and more["copies of the weights"] == 4 * base.parameters


def test_idle_devices_and_unequal_batches_are_said(base: NetworkShape) -> None:
    some = run_of(base, accumulate=3)
    batches = [BatchShape(16, 16, 16, 256), BatchShape(64, 64, 64, 4096)]
    plan = plan_run(replace(some, batches=batches), read_cluster("8xH100"))
    assert plan.busy == 3 and plan.wider is not None and plan.wider.accumulate == 9 and plan.wider.busy == 8
    assert plan.wider.steps == pytest.approx(plan.steps / 3)
    assert "5 of the 8 devices would have nothing to do" in " ".join(plan_notes(plan))
    assert plan.chosen is not None and 1.2 < plan.chosen.imbalance < 2
    rows = dict(plan_facts(plan))
    assert "slowest GPU" in rows and "to" in rows["GPU hours"] and len(option_rows(plan)) == len(plan.options)
    minutes = plan_run(replace(some, steps=None, max_seconds=600), read_cluster("8xH100"))
    assert minutes.seconds == 600 and minutes.steps > 0 and minutes.range == (600, 600)
    assert minutes.gpu_hours_range == (minutes.gpu_hours, minutes.gpu_hours)


def test_a_recipe_that_decides_is_followed(base: NetworkShape) -> None:
    two = read_cluster("2x8xH100")

    def ways(**said: object) -> set[Sharding]:
        return {option.sharding for option in plan_run(replace(run_of(base), **said), two).options}

    assert ways() == {Sharding.DDP, Sharding.HYBRID, Sharding.FSDP}
    assert ways(parallel="ddp") == {Sharding.DDP} and ways(parallel="fsdp") == {Sharding.HYBRID, Sharding.FSDP}
    assert ways(parallel="fsdp", shard_within="node") == {Sharding.HYBRID}
    adafactor = MemorySettings(half=True, optimizer="adafactor")
    assert ways(settings=adafactor) == {Sharding.DDP}
    assert ways(settings=replace(adafactor, optimizer="muon"), parallel="fsdp") == {Sharding.HYBRID, Sharding.FSDP}
    for said, problem in (
        ({"settings": adafactor, "parallel": "fsdp"}, "FSDP2 can shard with `training.parallel: fsdp`, but is adafa"),
        ({"settings": replace(adafactor, offload=True)}, "FSDP2 can shard with `training.cpu_offload: true`"),
        ({"settings": MemorySettings(offload=True), "parallel": "ddp"}, "`training.cpu_offload` needs"),
    ):
        with pytest.raises(ConfigError, match=problem):
            ways(**said)
    away = plan_run(run_of(base, offload=True), two)
    assert all(option.offload for option in away.options)
    assert away.chosen is not None and "cpu_offload: true" in dict(plan_facts(away))["recipe"]


def test_slow_links_are_said_to_bound_the_step(large: NetworkShape) -> None:
    slow = plan_run(run_of(large, rows=1), read_cluster("2x8x640GB,400TFLOP/s,32GB/s,1GB/s"))
    assert slow.chosen is not None and slow.chosen.step.bound == "communication"
    assert slow.chosen.step.exposed > 0.5 * slow.chosen.step.total


def test_published_runs_take_as_long_as_is_computed(published: ModuleType) -> None:
    modern = [run for run in published.runs() if run.source in (published.NVIDIA_2022, published.MOSAIC)]
    found = published.errors(modern)
    assert len(modern) >= 20 and 1 / found[-1] >= SHORTEST and 1 / found[0] <= LONGEST
    assert math.isclose(found[len(found) // 2], 1, abs_tol=0.1)


def test_the_page_has_the_computed_tables(published: ModuleType) -> None:
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    for table in (
        "\n".join(published.table()),
        "\n".join(published.operations()),
        *benchmark("scaling_tables").tables(),
    ):
        assert table in page, table[:80]
