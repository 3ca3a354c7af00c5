"""PCA of sparse vectors with any number of columns, as a Spark ML Estimator."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyspark import keyword_only
from pyspark.ml import Estimator, Model
from pyspark.ml.feature import PCA as StockPCA
from pyspark.ml.linalg import VectorUDT
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import HasInputCol, HasMaxIter, HasOutputCol, HasSeed, HasSolver, HasTol
from pyspark.ml.util import (
    DefaultParamsReadable,
    DefaultParamsWritable,
    MLReadable,
    MLReader,
    MLWritable,
    MLWriter,
)
from pyspark.sql import DataFrame
from pyspark.sql.types import StructField

from tastemap import rows, schemas, vectors
from tastemap.blocks import BlockMatrix, decode, from_vectors
from tastemap.columns import append_columns, vector_column
from tastemap.decomposition.principal import Decomposition, decompose, evaluate
from tastemap.persistence import ArraysReader, ArraysWriter

log = logging.getLogger(__name__)

Array = npt.NDArray[np.float64]

_ARRAYS = ("components", "mean", "variance", "residuals")
_SCALARS = ("total_variance", "n_rows", "passes", "error", "converged")

SOLVERS = ("krylov", "spark", "auto")
STOCK_BYTES = 80
"""Driver memory of stock Spark ML's PCA an element of the covariance matrix: its SVD holds ten copies."""
STOCK_MAX_FEATURES = 17_514
"""Breeze refuses 7 n² + 4 n ≥ 2³¹ − 1."""


class _PCAParams(HasInputCol, HasOutputCol, HasTol, HasMaxIter, HasSeed, HasSolver):
    """Params that the estimator and its model share."""

    k: Param[int] = Param(
        Params._dummy(), "k", "number of components (> 0)", typeConverter=TypeConverters.toInt
    )
    center: Param[bool] = Param(
        Params._dummy(),
        "center",
        "whether column means are subtracted; false gives truncated SVD",
        typeConverter=TypeConverters.toBoolean,
    )
    blockSize: Param[int] = Param(
        Params._dummy(),
        "blockSize",
        "columns multiplied in a pass of the krylov solver (0: chosen from k)",
        typeConverter=TypeConverters.toInt,
    )

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._setDefault(
            k=32,
            center=True,
            tol=2e-4,
            maxIter=60,
            seed=7,
            solver="auto",
            blockSize=0,
            inputCol="features",
            outputCol="scores",
        )

    def getK(self) -> int:
        """Number of components."""
        return self.getOrDefault(self.k)

    def getCenter(self) -> bool:
        """Whether column means are subtracted."""
        return self.getOrDefault(self.center)

    def getBlockSize(self) -> int:
        """Columns multiplied in a pass; 0: chosen from k."""
        return self.getOrDefault(self.blockSize)


class PCA(Estimator["PCAModel"], _PCAParams, DefaultParamsReadable["PCA"], DefaultParamsWritable):
    """Principal component analysis of sparse or dense vectors, centred without densifying.

    Unlike `pyspark.ml.feature.PCA` it has no limit on the number of columns, relates explained
    variance to the total variance, and its model subtracts the mean.

    Parameters
    ----------
    k : int
        Components, at most the number of rows and of features.
    inputCol, outputCol : str
        Vector columns to read and to write.
    center : bool
        False leaves the means in: truncated SVD.
    tol : float
        Bound on Σ ‖C v − θ v‖ / Σ θ at which the iteration stops. At the default the captured variance
        is within 4e-5 of the optimum; for components exact to 1e-6 take 1e-9.
    maxIter : int
        Passes over the data after which it stops in any case, with a warning.
    solver : {"auto", "krylov", "spark"}
        "krylov" is `tastemap.decomposition.krylov`; "spark" the covariance matrix of stock Spark ML,
        for narrow data only; "auto" is "krylov" at every width, so that a column more never changes the
        method. On a few hundred columns and rows "spark" takes half as long (1.2 against 2.4 s at 638).
    blockSize : int
        Columns multiplied in a pass; 0 chooses from k.
    seed : int
        Of the random start.

    Examples
    --------
    >>> model = PCA(k=2, inputCol="features", outputCol="scores").fit(frame)  # doctest: +SKIP
    >>> model.variance_ratio  # doctest: +SKIP
    array([0.41, 0.17])
    """

    _input_kwargs: dict[str, Any]

    @keyword_only
    def __init__(
        self,
        *,
        k: int = 32,
        inputCol: str = "features",
        outputCol: str = "scores",
        center: bool = True,
        tol: float = 2e-4,
        maxIter: int = 60,
        solver: str = "auto",
        blockSize: int = 0,
        seed: int = 7,
    ) -> None:
        super().__init__()
        self._set(**self._input_kwargs)

    def setParams(self, **params: Any) -> PCA:
        """Set any of the constructor's parameters."""
        unknown = [name for name in params if not self.hasParam(name)]
        if unknown:
            raise ValueError(f"PCA has no parameter {unknown[0]!r}")
        return self._set(**params)

    def _fit(self, dataset: DataFrame) -> PCAModel:
        solver, k = self.getSolver(), self.getK()
        if solver not in SOLVERS:
            raise ValueError(f"solver is {solver!r}, allowed are {', '.join(SOLVERS)}")
        column = vector_column(dataset, self.getInputCol())
        first = column.head()
        if first is None:
            raise ValueError("the dataset has no rows to fit a PCA to")
        if first[0] is None:
            raise ValueError(f"column {self.getInputCol()!r} holds null vectors; drop or fill them")
        n_features = first[0].size
        if not 1 <= k <= n_features:
            raise ValueError(f"k is {k}, allowed are 1 to {n_features}, the number of features")
        with rows.persisted(column, from_vectors(n_features), schemas.BLOCKS) as blocks:
            matrix = BlockMatrix(blocks, partial(decode, n_columns=n_features), n_features)
            if solver == "spark":
                components = self._stock_components(dataset, n_features)
                result = evaluate(matrix, components, center=self.getCenter())
            else:
                result = decompose(
                    matrix,
                    k,
                    center=self.getCenter(),
                    tol=self.getTol(),
                    max_passes=self.getMaxIter(),
                    block_size=self.getBlockSize() or None,
                    seed=self.getSeed(),
                )
        if not result.converged:
            log.warning(
                "PCA stopped after %d passes at an error of %.1e, above tol=%.1e; raise maxIter or tol",
                result.passes,
                result.error,
                self.getTol(),
            )
        model = PCAModel(result)
        model._resetUid(self.uid)
        return self._copyValues(model)

    def _stock_components(self, dataset: DataFrame, n_features: int) -> Array:
        if not self.getCenter():
            raise ValueError("solver 'spark' always centres; use solver='krylov' with center=False")
        jvm = dataset.sparkSession._jvm
        assert jvm is not None
        needed, found = STOCK_BYTES * n_features**2, int(jvm.java.lang.Runtime.getRuntime().maxMemory())
        if n_features > STOCK_MAX_FEATURES or needed > found:
            raise ValueError(
                f"solver 'spark' works on a dense {n_features:,} x {n_features:,} matrix, about "
                f"{needed / 2**30:.1f} GiB on the driver, which has {found / 2**30:.1f} GiB, and takes at "
                f"most {STOCK_MAX_FEATURES:,} features; use 'krylov', or where it suffices more driver memory"
            )
        stock = StockPCA(k=self.getK(), inputCol=self.getInputCol(), outputCol="tastemap_stock_scores")
        return np.asarray(stock.fit(dataset).pc.toArray())


class PCAModel(Model, _PCAParams, MLReadable["PCAModel"], MLWritable):
    """Fitted principal components; `transform` appends (x − mean) · components as dense vectors."""

    def __init__(self, decomposition: Decomposition) -> None:
        super().__init__()
        self._decomposition = decomposition
        self._set(k=decomposition.variance.size)

    @property
    def decomposition(self) -> Decomposition:
        """Everything that was fitted."""
        return self._decomposition

    @property
    def components(self) -> Array:
        """Loadings of shape (d, k)."""
        return self._decomposition.components

    @property
    def mean(self) -> Array:
        """Column means of shape (d,)."""
        return self._decomposition.mean

    @property
    def variance(self) -> Array:
        """Variance along each component, of shape (k,)."""
        return self._decomposition.variance

    @property
    def variance_ratio(self) -> Array:
        """Share of the total variance along each component, of shape (k,)."""
        return self._decomposition.variance_ratio

    def _transform(self, dataset: DataFrame) -> DataFrame:
        components = self.components
        offset = self.mean @ components

        def scores(features: pa.Array) -> list[pa.Array]:
            matrix = vectors.to_csr(features, components.shape[0])
            return [vectors.from_dense(matrix @ components - offset)]

        field = StructField(self.getOutputCol(), VectorUDT())
        return append_columns(dataset, self.getInputCol(), [field], scores)

    def write(self) -> MLWriter:
        """Writer of params as Spark ML metadata and of the arrays as Parquet."""
        fitted = self._decomposition
        arrays = {name: getattr(fitted, name) for name in _ARRAYS}
        return ArraysWriter(self, arrays, {name: getattr(fitted, name) for name in _SCALARS})

    @classmethod
    def read(cls) -> MLReader[PCAModel]:
        """Reader of what `write` has written."""

        def build(arrays: dict[str, Array], extra: dict[str, Any]) -> PCAModel:
            flat = {name: arrays[name][0] for name in _ARRAYS if name != "components"}
            return cls(Decomposition(components=arrays["components"], **flat, **extra))

        return ArraysReader(build)
