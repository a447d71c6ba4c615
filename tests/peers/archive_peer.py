"""Run ibllib's own MesoscopeCompress on a session; used as a script by the peer's Python."""

import json
import logging
import sys

logging.disable(logging.CRITICAL)


def main(session_path: str, options: str) -> None:
    from ibllib.pipes.mesoscope_tasks import MesoscopeCompress

    task = MesoscopeCompress(session_path, device_collection="raw_imaging_data_??", one=None)
    task.get_signatures()
    try:
        out = task._run(**json.loads(options))
        print(json.dumps({"out": [str(p) for p in out]}))
    except AssertionError as error:
        print(json.dumps({"error": str(error)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
