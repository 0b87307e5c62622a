#!/bin/sh
# Slurm's Epilog (slurm.conf: Epilog=/usr/share/bijli/slurm/epilog.sh): tells bijli-agent that this
# job let go of its GPUs. Clean up after the job first: what that takes is the job's energy.
/usr/bin/bijli-agent hold end --dir /var/lib/bijli-agent/holds || true
exit 0
