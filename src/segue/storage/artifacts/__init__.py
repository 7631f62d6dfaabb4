"""Where models are kept: content-addressed versions, checksums and aliases."""
