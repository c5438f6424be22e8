"""Images as sources: their files and their augmentations. The kind of input is `antiphon.inputs.image`."""
