"""The built-in objective, a network that is trained on images: knobs, presets, recipe. No torch."""
