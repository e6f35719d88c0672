"""Speed and weight, measured beside a floor or a peer in the same run: medians of ratios, never one absolute time."""
