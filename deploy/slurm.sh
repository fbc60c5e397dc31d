#!/bin/bash
# A training on several nodes of a Slurm cluster: sbatch deploy/slurm.sh --env Breakout-v0 --workers 16
#
# The folder of the project and ~/.ray are on a file system that all nodes see, and `pip install "a3c[cluster]"` was
# done in its .venv. The run is in checkpoints/slurm-JOB_ID; a job that is requeued or started again with
# RUN=checkpoints/slurm-OLD_ID continues it. See docs/cluster.md.
#
#SBATCH --job-name=a3c
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=TERM@120
#SBATCH --output=a3c-%j.log

set -eu
cd "${SLURM_SUBMIT_DIR:?submit this with sbatch}"
RUN=${RUN:-checkpoints/slurm-$SLURM_JOB_ID}

# A token of this job's own, which only its owner can read: whoever reaches an open Ray cluster runs programs in it.
umask 077
mkdir -p ~/.ray
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HOME/.ray/token-$SLURM_JOB_ID
.venv/bin/python -c 'import secrets; print(secrets.token_hex(32), end="")' > "$RAY_AUTH_TOKEN_PATH"
trap 'rm -f "$RAY_AUTH_TOKEN_PATH"' EXIT

export PATH=$PWD/.venv/bin:$PATH # where symmetric-run looks for `ray`
export RAY_worker_niceness=0
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -1)
PORT=$((20000 + SLURM_JOB_ID % 10000)) # of this job's own

# Continues the run where there is one; the flags are for its first start.
if [ -e "$RUN/config.json" ]; then set -- --load "$RUN"; else set -- --run-dir "$RUN" "$@"; fi

# Starts Ray on every node, the training on the first, and ends Ray when the training is over.
srun --kill-on-bad-exit=1 ray symmetric-run --address "$HEAD:$PORT" --min-nodes "$SLURM_NNODES" \
    --num-cpus "$SLURM_CPUS_PER_TASK" --disable-usage-stats --include-dashboard=false \
    -- python run.py "$@" --cluster "$HEAD:$PORT"
