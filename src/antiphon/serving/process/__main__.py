"""The program of a model process: `python -m antiphon.serving.process FD PARENT`, started by `ModelProcess`.

FD is the socket to the server, PARENT the number of the server's process. The end of the server ends this process.
"""

from __future__ import annotations

import sys

from antiphon.serving.process.worker.main import run

if __name__ == "__main__":
    run(socket_number=int(sys.argv[1]), parent=int(sys.argv[2]))
