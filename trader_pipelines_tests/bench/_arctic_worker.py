"""ArcticDB's side of the cold benchmark, in an interpreter of its own (it needs pandas 2)."""

import json
import shutil
import sys
import tempfile
import time

import arcticdb  # type: ignore[import-not-found]
import pandas as pd


def main() -> None:
    """Answer one JSON line a request: load a frame, write it, read it, tell its bytes."""
    folder = tempfile.mkdtemp(prefix="arctic-")
    try:
        store = arcticdb.Arctic(f"lmdb://{folder}?map_size=4GB")
        frame = pd.DataFrame()
        library, written = None, 0
        for number, line in enumerate(sys.stdin):
            told = json.loads(line)
            start = time.perf_counter()
            answer: dict[str, float] = {}
            if told["do"] == "load":
                frame = pd.read_parquet(told["path"]).set_index("ts_event")
                library, written = store.create_library(f"tape{number}"), 0
            elif told["do"] == "write":
                assert library is not None
                # A day that is not there yet, as ours.
                written += 1
                library.write(f"day{written}", frame)
            elif told["do"] == "read":
                assert library is not None
                assert len(library.read(f"day{written}").data) == len(frame)
            elif told["do"] == "bytes":
                assert library is not None
                sizes = library.admin_tools().get_sizes()
                answer["bytes"] = sum(size.bytes_compressed for size in sizes.values())
            answer["seconds"] = time.perf_counter() - start
            print(json.dumps(answer), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
