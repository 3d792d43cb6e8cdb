"""xright: joint SFT + preference post-training of language models (arXiv 2410.15483)."""

__version__ = "0.1.0"
