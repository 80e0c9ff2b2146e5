"""Model files: safe to load, named by their content, equal bytes for equal models."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from trader_pipelines.core.errors import ModelFileError
from trader_pipelines.core.learning.model import Model, Params
from trader_pipelines.stores.files import write_atomic

SCHEMA = "schema.json"
FORMAT = 1

#: Exactly what a model file consists of; a file that names anything else is not loaded.
_TREES = "sklearn.ensemble._hist_gradient_boosting"
ALLOWED = frozenset(
    {
        "builtins.dict",
        "builtins.list",
        "builtins.str",
        "builtins.tuple",
        "numpy.ndarray",
        "numpy.random._generator.Generator",
        "numpy.uint64",
        "sklearn._loss._loss.CyHalfBinomialLoss",
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.loss.HalfBinomialLoss",
        f"{_TREES}.binning._BinMapper",
        f"{_TREES}.gradient_boosting.HistGradientBoostingClassifier",
        f"{_TREES}.predictor.TreePredictor",
        "sklearn.preprocessing._label.LabelEncoder",
    }
)


#: And how skops may read it.
LOADERS = frozenset(
    {
        "DictNode",
        "JsonNode",
        "ListNode",
        "LossNode",
        "NdArrayNode",
        "ObjectNode",
        "RandomGeneratorNode",
        "TupleNode",
        "TypeNode",
    }
)


def save(model: Model, folder: Path) -> str:
    """Write a model under the name of its content, whole or not at all.

    Parameters
    ----------
    folder : Path
        Made if it is not there.

    Returns
    -------
    str
        SHA-256 of the file, hex: the key to `load` it. Equal models give equal bytes.

    Raises
    ------
    DiskFullError
        With nothing left behind.
    """
    content = encode(model)
    digest = hashlib.sha256(content).hexdigest()
    write_atomic(path(folder, digest), content)
    return digest


def load(folder: Path, digest: str) -> Model:
    """Read a model back, verified.

    Parameters
    ----------
    digest : str
        As `save` returned it.

    Raises
    ------
    ModelFileError
        The file is missing, is not what was saved, or holds a type that is not allowed.
    """
    file = path(folder, digest)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise _error(f"model file cannot be read: {error.strerror}", str(file)) from None
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise _error(f"model file is damaged: its SHA-256 is {found}, not {digest}", str(file))
    return decode(content, str(file))


def path(folder: Path, digest: str) -> Path:
    """Where a model of that content lies."""
    return folder / f"{digest}.skops"


def encode(model: Model) -> bytes:
    """A model as the bytes of a skops file, the same whenever and wherever it was fitted.

    skops writes memory addresses and the time of day; both are replaced: objects and arrays are
    numbered in order of appearance, and every member is dated 1980-01-01.
    """
    import skops.io

    state = {name: getattr(model, name) for name in _names() if name != "params"}
    state |= {
        "format": FORMAT,
        "feature_names": list(model.feature_names),
        "trained_from": model.trained_from.isoformat(),
        "trained_until": model.trained_until.isoformat(),
        "params": asdict(model.params),
    }
    return _normalised(skops.io.dumps(state))


def decode(content: bytes, where: str) -> Model:
    """A model from the bytes of its file.

    Raises
    ------
    ModelFileError
        Not a model file, or a type in it is not allowed; it is named and nothing of it is built.
    """
    import skops.io

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            schema = json.loads(archive.read(SCHEMA))
        foreign = sorted(set(_foreign(schema)))
    except Exception as error:  # noqa: BLE001  # foreign bytes may fail anywhere in zip and json
        raise _error(f"this is not a model file: {error}", where) from None
    if foreign:
        raise ModelFileError(
            f"model file holds types that are not allowed: {', '.join(foreign)}",
            where=where,
            remedy="do not use this file: this project did not write it; train the model again",
        )
    try:
        state = skops.io.loads(content, trusted=[f"{_TREES}.predictor.TreePredictor"])
        return _model(state)
    except Exception as error:  # noqa: BLE001  # a foreign file may fail anywhere in skops
        raise _error(
            f"model file cannot be rebuilt: {type(error).__name__}: {error}", where
        ) from None


def _model(state: dict[str, Any]) -> Model:
    if state["format"] != FORMAT:
        raise ValueError(f"format {state['format']!r}, this code reads {FORMAT}")
    return Model(
        **{name: state[name] for name in _names()}
        | {
            "feature_names": tuple(state["feature_names"]),
            "trained_from": datetime.fromisoformat(state["trained_from"]),
            "trained_until": datetime.fromisoformat(state["trained_until"]),
            "params": Params(**state["params"]),
        }
    )


def _names() -> tuple[str, ...]:
    return tuple(field.name for field in fields(Model))


def _normalised(content: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        schema = json.loads(archive.read(SCHEMA))
        numbers: dict[int, int] = {}
        members: dict[str, str] = {}
        for node in _nodes(schema):
            if node["__loader__"] in ("JsonNode", "TypeNode"):
                # Whether equal constants are one object is the interpreter's whim.
                node.pop("__id__", None)
            elif "__id__" in node:
                node["__id__"] = numbers.setdefault(node["__id__"], len(numbers) + 1)
            if node.get("type") == "numpy":
                node["file"] = members.setdefault(node["file"], f"{len(members) + 1}.npy")
        arrays = {name: archive.read(old) for old, name in members.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        text = json.dumps(schema, separators=(",", ":"))
        for name, data in {SCHEMA: text.encode(), **arrays}.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def _nodes(part: Any) -> Iterator[dict[str, Any]]:
    """Every object of a skops schema, in order of appearance."""
    if isinstance(part, dict):
        if "__class__" in part:
            yield part
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from _nodes(inner)


def _foreign(schema: Any) -> Iterator[str]:
    """What of a schema is not allowed, for a person."""
    for node in _nodes(schema):
        kind = f"{node['__module__']}.{node['__class__']}"
        if kind not in ALLOWED:
            yield kind
        elif node["__loader__"] not in LOADERS:
            yield f"{kind} by {node['__loader__']}"


def _error(what: str, where: str) -> ModelFileError:
    return ModelFileError(
        what,
        where=where,
        remedy="restore the file from a backup, or materialize candidate_model and champion_model"
        " again: the same training set gives the same file",
    )
