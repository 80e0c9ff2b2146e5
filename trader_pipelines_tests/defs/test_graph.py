"""The asset graph as people see it: what hangs on what, whose it is, and what each part tells."""

import base64
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from trader_pipelines import demo
from trader_pipelines.definitions import definitions
from trader_pipelines.platform import Platform
from trader_pipelines.steps import models
from trader_pipelines.stores import datasets
from trader_pipelines.stores.datasets import POOL, Key
from trader_pipelines_tests.end_to_end import worlds
from trader_pipelines_tests.end_to_end.tasks import open_gate

#: Venues of the universe, and the kind that their trades are shown to be of.
VENUES = {"binance": "binance", "synthetic": "synthetic", "alpaca": "alpaca", "kraken": "ccxt"}

#: Every asset of a venue: group, owner, kinds, and what it hangs on.
ASSETS = {
    "hot_ticks": ("ticks", "team:market-data", {"postgres", "{origin}"}, set()),
    "cold_ticks": ("ticks", "team:market-data", {"parquet"}, {"hot_ticks"}),
    "bars": ("bars", "team:market-data", {"parquet", "polars"}, {"cold_ticks"}),
    "features": ("features", "team:research", {"parquet", "polars"}, {"bars"}),
    "labels": ("features", "team:research", {"parquet", "polars"}, {"bars"}),
    "training_set": (
        "models", "team:research", {"parquet", "polars"}, {"features", "labels"},
    ),
    "candidate_model": ("models", "team:research", {"scikitlearn"}, {"training_set"}),
    "champion_model": ("models", "team:research", {"postgres"}, {"candidate_model"}),
    "signals": (
        "signals", "team:research", {"parquet", "scikitlearn"}, {"features", "champion_model"},
    ),
}  # fmt: skip

#: What looks after both tiers of all venues, and its kinds.
STORAGE = {
    "usage": {"postgres", "parquet"},
    "retention": {"postgres", "parquet"},
    "migration": {"parquet"},
}

CHECKS = {
    "hot_ticks": {"certificates_are_complete", "days_join"},
    "cold_ticks": {"cold_equals_hot"},
    "bars": {"bars_reconcile_with_ticks"},
    "features": {"finite_and_known_in_time"},
}
#: They only warn, and stop nothing.
WARNING = {"days_join"}

JOBS = {
    "day": {"hot_ticks", "cold_ticks", "bars", "features", "labels", "signals"},
    "rebuild": {"cold_ticks", "bars", "features", "labels", "signals"},
    "week": {"training_set", "candidate_model", "champion_model"},
    "heal": {"hot_ticks"},
}


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    return definitions(Platform({"home": "/nowhere"}))


def test_graph_of_all_venues_is_the_known_one(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    found = {
        tuple(node.key.path): (
            node.group_name,
            *node.owners,
            set(node.kinds),
            {parent.path[-1] for parent in node.parent_keys if parent.path[0] == node.key.path[0]},
        )
        for node in graph.asset_nodes
    }
    assert found == {
        (venue, stage): (group, owner, {kind.format(origin=origin) for kind in kinds}, above)
        for venue, origin in VENUES.items()
        for stage, (group, owner, kinds, above) in ASSETS.items()
    } | {
        ("storage", name): ("storage", "team:market-data", k, set()) for name, k in STORAGE.items()
    }
    # No venue hangs on another's.
    assert all(
        parent.path[0] == node.key.path[0]
        for node in graph.asset_nodes
        for parent in node.parent_keys
    )


def test_every_asset_explains_itself(defs: dg.Definitions) -> None:
    for node in defs.resolve_asset_graph().asset_nodes:
        assert node.description
        assert node.description.endswith(".")
        assert node.code_version
        assert node.tags.get("synthetic") == ("true" if node.key.path[0] == "synthetic" else None)
        shown = node.metadata["dagster/column_schema"]
        assert shown.columns
        assert all(column.description and column.type for column in shown.columns), node.key


def test_checks_are_blocking_and_one_for_each_claim(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    found = {(*key.asset_key.path, key.name) for key in graph.asset_check_keys}
    assert found == {
        (venue, stage, name)
        for venue in VENUES
        for stage, names in CHECKS.items()
        for name in names
    }
    for key in graph.asset_check_keys:
        spec = graph.get_check_spec(key)
        assert spec.blocking is (key.name not in WARNING)
        assert spec.description


def test_jobs_resolve_to_their_stages_and_checks(defs: dg.Definitions) -> None:
    for venue in VENUES:
        for name, stages in JOBS.items():
            layer = defs.resolve_job_def(f"{venue}_{name}").asset_layer
            selected = {tuple(key.path) for key in layer.selected_asset_keys}
            assert selected == {(venue, stage) for stage in stages}
            checks = {key.name for key in layer.asset_graph.asset_check_keys}
            assert checks == {name for stage in stages for name in CHECKS.get(stage, ())}
            assert defs.resolve_job_def(f"{venue}_{name}").tags["venue"] == venue


@pytest.fixture(scope="module")
def ran(
    tmp_path_factory: pytest.TempPathFactory, postgres: Any, _template: str
) -> Iterator[tuple[Platform, dict[str, worlds.Ran]]]:
    """The whole chain, run once: what every stage told, and what it stored."""
    from trader_pipelines_tests.conftest import _database

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "decide", open_gate())
        for url in _database(postgres, _template):
            parts = worlds.platform(tmp_path_factory.mktemp("graph"), url)
            what = demo.plan(parts, "synthetic", (), worlds.MONDAY, LAST)
            done = {
                "day": worlds.run(parts, demo.BY_DAY, what.first, what.last),
                "week": worlds.run(parts, demo.BY_WEEK, what.weeks[0]),
                "signals": worlds.run(parts, ("signals",), LAST),
            }
            assert all(one.success for one in done.values())
            yield parts, done


LAST = worlds.MONDAY + timedelta(days=7)

#: Which job of `ran` a stage belongs to, and one of its partitions.
SHOWN = (
    dict.fromkeys(demo.BY_DAY, ("day", LAST))
    | dict.fromkeys(demo.BY_WEEK, ("week", worlds.MONDAY))
    | {"signals": ("signals", LAST)}
)

#: Pictures that a person sees, by stage.
PICTURES = {
    "bars": "price and volume",
    "candidate_model": "calibration",
    "signals": "probabilities",
}


@pytest.mark.parametrize("stage", ASSETS)
def test_materialization_tells_rows_and_a_table_by_symbol(
    ran: tuple[Platform, dict[str, worlds.Ran]], stage: str
) -> None:
    job, partition = SHOWN[stage]
    told = ran[1][job].metadata(stage, partition)
    assert told["dagster/partition_row_count"] == stored_rows(ran[0], stage)
    lines = told["by symbol"].splitlines()
    if stage == "champion_model":
        assert lines[0] == "| check | value |"
    else:
        assert lines[0].startswith("| symbol |")
        assert [line.split(" ")[1] for line in lines[2:]] == ["AAA", "BBB"]


def stored_rows(parts: Platform, stage: str) -> int:
    """Rows that the stores hold of the partition that is shown of a stage."""
    rows = worlds.rows(parts.database_url())
    if stage == "hot_ticks":
        return sum(row["day"] == LAST for row in rows["hot_ticks"])
    if stage == "champion_model":
        return sum(row["version"] is not None for row in rows["champions"])
    dataset = {"bars": "minute_bars", "candidate_model": "oos_forecasts"}.get(stage, stage)
    day = worlds.MONDAY if stage in demo.BY_WEEK else LAST
    return sum(
        row["rows"] for row in rows["datasets"] if (row["dataset"], row["day"]) == (dataset, day)
    )


@pytest.mark.parametrize("stage", ASSETS)
def test_materialization_has_a_picture_where_one_is_worth_it(
    ran: tuple[Platform, dict[str, worlds.Ran]], stage: str
) -> None:
    job, partition = SHOWN[stage]
    told = ran[1][job].metadata(stage, partition)
    drawn = {
        name: value.partition("base64,")[2].rstrip(")")
        for name, value in told.items()
        if isinstance(value, str) and value.startswith("![picture](data:image/png;base64,")
    }
    assert set(drawn) == ({PICTURES[stage]} if stage in PICTURES else set())
    for encoded in drawn.values():
        assert base64.b64decode(encoded).startswith(b"\x89PNG\r\n\x1a\n")


def test_long_range_draws_its_last_day_only(
    ran: tuple[Platform, dict[str, worlds.Ran]],
) -> None:
    # Eight days in one run.
    told = [
        "price and volume" in ran[1]["day"].metadata("bars", worlds.MONDAY + timedelta(days=n))
        for n in range(8)
    ]
    assert told == [False] * 7 + [True]


@pytest.mark.parametrize(
    "stage", [stage for stage in ASSETS if stage not in ("hot_ticks", "champion_model")]
)
def test_column_schema_is_that_of_the_stored_frame(
    ran: tuple[Platform, dict[str, worlds.Ran]], stage: str
) -> None:
    parts = ran[0]
    dataset = {"bars": "minute_bars", "candidate_model": "oos_forecasts"}.get(stage, stage)
    pooled = stage in demo.BY_WEEK
    key = Key(dataset, "synthetic", POOL if pooled else "AAA", worlds.MONDAY if pooled else LAST)
    with parts.connect() as connection:
        frame, _ = datasets.get(connection, parts.settings.cold_root, key)
    node = definitions(parts).resolve_asset_graph().get(dg.AssetKey(["synthetic", stage]))
    shown = node.metadata["dagster/column_schema"].columns
    assert frame.height > 0
    assert [(column.name, column.type) for column in shown] == [
        (name, str(dtype)) for name, dtype in frame.schema.items()
    ]


def test_signals_and_models_say_that_they_are_synthetic(
    ran: tuple[Platform, dict[str, worlds.Ran]],
) -> None:
    for stage in ("hot_ticks", "candidate_model", "champion_model", "signals"):
        job, partition = SHOWN[stage]
        assert ran[1][job].metadata(stage, partition)["synthetic"] is True
    assert "| yes |" in ran[1]["signals"].metadata("signals", LAST)["by symbol"]
