"""Principal components of sparse data of any width."""

from tastemap.decomposition.pca import PCA, PCAModel

__all__ = ["PCA", "PCAModel"]
