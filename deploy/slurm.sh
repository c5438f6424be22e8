#!/bin/bash
# Training on several machines under SLURM: one torchrun on each, all GPUs of each.
#
#     sbatch deploy/slurm.sh recipe.yaml
#
# Three minutes before the time is over, SLURM sends SIGTERM to this script, which passes it on: the run saves and ends,
# and the job goes back into the queue, where it continues. So does one that SLURM starts again, as a machine failed.
#SBATCH --job-name=antiphon
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@180
#SBATCH --requeue
#SBATCH --open-mode=append
set -eu

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head --lines=1)
export NODES="$SLURM_JOB_NUM_NODES" JOB="$SLURM_JOB_ID"
export HEAD="$head:$((20000 + SLURM_JOB_ID % 10000))"  # a port that no other job of the machine uses
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=150               # less than the three minutes

stopped=""
trap 'stopped=1; kill -TERM "$step"' TERM
srun --kill-on-bad-exit=1 "${ANTIPHON_DEPLOY:-deploy}/torchrun.sh" "$@" &
step=$!
code=0
wait "$step" || code=$?
if [ -n "$stopped" ]; then
    wait "$step" || true  # the first `wait` ended with the signal
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
