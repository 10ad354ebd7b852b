"""Mathematics without electrons: interpolation, masks, batching, random generators."""
