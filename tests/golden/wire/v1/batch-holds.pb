lahorelhe-n001"0123456789abcdef(2 Äs©œ=¥HÔ;’Ð¡ÚŸouÂ•X¿ß ¯c†
„Ùµl8Ê¾æ‚¹fB<€€æ‚¹fÐÐÐ
Âêºæ¬ÀØžÀ¹U
 ¬OèÃ

¨ÿP­ÿjB€€æ‚¹fJ Ðæ‚¹f"no answer in 600 msbƒk8s"team-a/trainer-0(ð®æ‚¹f0€€æ‚¹f:climateBaishaJGPU-0002Z
GPU-0001GPU-0001::3Z%
GPU-0001MIG-0001::0MIG-0001 (b)k8s"team-a/trainer-0(ð®æ‚¹f0€€æ‚¹fbk8s(ð®æ‚¹fP°ê