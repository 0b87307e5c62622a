lahorelhe-n001"0123456789abcdef(2 Äs©œ=¥HÔ;’Ð¡ÚŸouÂ•X¿ß ¯c†
„Ùµl8Ê¾æ‚¹fB<€€æ‚¹fÐÐÐ
Âêºæ¬ÀØžÀ¹U
 ¬OèÃ

¨ÿP­ÿjB€€æ‚¹fJ2Ðæ‚¹f"#its word order was ABCD and is CDAB(