lahorelhe-n001"bijli-agent 0.1.0*,
lhe-n0010"NVIDIA H100 80GB HBM3*1652*=
GPU-00010"NVIDIA H100 80GB HBM3*16522 аЬ*(*08ё*G
lhe-n001/cpu00"NVIDIA H100 80GB HBM3*16522ияя аЬ*(*08ё2и2ђN