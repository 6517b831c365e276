#!/bin/bash
# Train on a cluster that Slurm manages: from the course's folder, `sbatch examples/slurm.sh`.
# What follows the file's name goes to the training, as in `sbatch examples/slurm.sh --steps 10000`.
#
# The folder must be one that all machines see, with .venv in it (`make .venv/.installed`), and so must
# LLM_COURSE_DATA: machines that compute often have no network.
#SBATCH --job-name=llm-course
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=00:30:00
#SBATCH --requeue

set -euo pipefail
source .venv/bin/activate

# After a restart, let nobody find the addresses of processes that died.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1

# One torchrun a machine (srun sees to that), one process a GPU. They meet at the first machine.
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun torchrun \
  --nnodes="$SLURM_NNODES" \
  --nproc-per-node="${SLURM_GPUS_ON_NODE:-1}" \
  --max-restarts=3 \
  --rdzv-backend=c10d \
  --rdzv-endpoint="$first:$((20000 + SLURM_JOB_ID % 10000))" \
  --rdzv-id="$SLURM_JOB_ID" \
  -m llm_course train decoder --strategy ddp --resume "$@"
