#!/bin/sh
# Training on several machines with plain torchrun. The same command on every machine, with the run folder and the data
# at the same paths on all of them:
#
#     NODES=2 HEAD=node-0:29500 deploy/torchrun.sh recipe.yaml
#
# NODES   how many machines; 1:4 starts with one and takes up to four, also while it trains
# HEAD    name and port of one of them, where all meet
# PROCESSES, RESTARTS   processes on each machine (default: its GPUs), starts after a lost rank (default 3)
#
# A rank or a machine that is lost: torchrun starts the ranks again, and --resume continues from the newest whole
# snapshot. So does the same command after everything was stopped.
set -eu
: "${NODES:?must be the number of machines, such as 2}"
: "${HEAD:?must be the name and the port of one machine, such as node-0:29500}"

# A store of its own for each start: in that of torchrun's agent, ranks would wait for those before them.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
# A rank that is stopped has this time to save, in seconds (PyTorch 2.13 and later; before, 30).
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT="${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-120}"

exec torchrun --nnodes "$NODES" --nproc-per-node "${PROCESSES:-gpu}" --max-restarts "${RESTARTS:-3}" \
    --rdzv-backend c10d --rdzv-endpoint "$HEAD" --rdzv-id "${JOB:-antiphon}" \
    -m antiphon train "$@" --resume
