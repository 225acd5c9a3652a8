"""Made examples: two hands in video with exact ground truth (AIH_Render and AIH_Syn)."""
