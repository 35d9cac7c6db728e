"""The models of onnx_matrix.py: a name and a function that makes the model and its inputs, for each.

Three sources: exporters (scikit-learn, XGBoost, LightGBM), hand-made `ai.onnx.ml` nodes with every attribute, and one
small graph for each operator of the main domain. All random numbers have fixed seeds.
"""
import contextlib, functools, itertools

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROWS = 70  # More than a block of 64 rows, and a rest.
GOLDEN = {
    "skl_LogisticRegression", "skl_GradientBoostingClassifier", "skl_RandomForestRegressor", "skl_pipeline_mixed",
    "xgb_binary_missing", "lgbm_binary", "skl_SVC_rbf_proba", "skl_MLPClassifier_relu", "skl_OneHotEncoder_strict_texts", "tree5_member",
    "treec_2_one_sided_base2_LOGISTIC",
}


def rng(seed=0):
    return np.random.default_rng(seed)


@functools.lru_cache(None)
def data(kind, features=6, classes=2):
    r = rng(1)
    x = r.normal(size=(400, features)).astype(np.float32)
    score = x[:, 0] + 0.5 * x[:, 1] * x[:, 2] + 0.3 * r.normal(size=400)
    if kind == "class":
        return x, np.digitize(score, np.quantile(score, np.linspace(0, 1, classes + 1)[1:-1]))
    return x, score.astype(np.float32)


# ---------------------------------------------------------------- exporters


def to_onnx(model, x, opset=None, zipmap=False, kind=None, options=None):
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType

    kinds = {"float32": FloatTensorType, "float64": DoubleTensorType, "int64": Int64TensorType}
    with plain_integers():
        return exported(model, x, opset, zipmap, options, convert_sklearn, kinds[kind or str(x.dtype)])


@contextlib.contextmanager
def plain_integers():
    """skl2onnx 1.20 gives truth values where onnx 1.23 takes integers only (histogram gradient boosting)."""
    original = helper.make_attribute
    plain = lambda v: [int(i) for i in v] if isinstance(v, (list, tuple)) and any(isinstance(i, (bool, np.bool_)) for i in v) else v
    helper.make_attribute = lambda key, value, *rest, **more: original(key, plain(value), *rest, **more)
    try:
        yield
    finally:
        helper.make_attribute = original


def exported(model, x, opset, zipmap, options, convert_sklearn, kind):
    settings = dict(options or {})
    is_classifier = hasattr(model, "predict_proba") and not hasattr(model, "score_samples")
    if is_classifier:
        settings["zipmap"] = zipmap
    try:
        return convert_sklearn(model, initial_types=[("X", kind([None, x.shape[1]]))], target_opset=opset,
                               options={id(model): settings} if settings else None)
    except (NameError, RuntimeError) as error:
        if "option" not in str(error).lower():
            raise
        return convert_sklearn(model, initial_types=[("X", kind([None, x.shape[1]]))], target_opset=opset)


def sk_case(model, kind, opset=None, zipmap=False, dtype=None, classes=2, texts=False, shift=0.0, options=None):
    x, y = data(kind, classes=classes)
    x = (x + shift).astype(dtype or np.float32)
    if texts:
        y = np.array(["low", "mid", "high", "top"])[y]
    model.fit(x, y)
    return to_onnx(model, x, opset, zipmap, options=options), {"X": x[:ROWS]}


def sklearn_cases():
    from sklearn import (calibration, cluster, decomposition, discriminant_analysis, ensemble, feature_selection,
                         linear_model, mixture, multiclass, naive_bayes, neighbors, neural_network, pipeline,
                         preprocessing, svm, tree)

    lm = linear_model
    regressors = {
        "LinearRegression": lm.LinearRegression(), "Ridge": lm.Ridge(), "Lasso": lm.Lasso(0.01),
        "ElasticNet": lm.ElasticNet(0.01), "SGDRegressor": lm.SGDRegressor(random_state=0), "Huber": lm.HuberRegressor(),
        "BayesianRidge": lm.BayesianRidge(), "Lars": lm.Lars(), "PassiveAggressiveRegressor": lm.SGDRegressor(random_state=3),
        "SVR_rbf": svm.SVR(), "SVR_poly": svm.SVR(kernel="poly"), "SVR_linear": svm.SVR(kernel="linear"),
        "SVR_sigmoid": svm.SVR(kernel="sigmoid"), "NuSVR": svm.NuSVR(), "LinearSVR": svm.LinearSVR(),
        "DecisionTreeRegressor": tree.DecisionTreeRegressor(random_state=0),
        "RandomForestRegressor": ensemble.RandomForestRegressor(8, max_depth=4, random_state=0),
        "RandomForestRegressor_deep": ensemble.RandomForestRegressor(20, random_state=0),
        "ExtraTreesRegressor": ensemble.ExtraTreesRegressor(10, random_state=0),
        "GradientBoostingRegressor": ensemble.GradientBoostingRegressor(n_estimators=30, random_state=0),
        "HistGradientBoostingRegressor": ensemble.HistGradientBoostingRegressor(max_iter=20),
        "AdaBoostRegressor": ensemble.AdaBoostRegressor(n_estimators=6, random_state=0),
        "BaggingRegressor": ensemble.BaggingRegressor(n_estimators=4, random_state=0),
        "VotingRegressor": ensemble.VotingRegressor([("a", lm.LinearRegression()), ("b", tree.DecisionTreeRegressor(max_depth=3))]),
        "StackingRegressor": ensemble.StackingRegressor([("a", lm.LinearRegression()), ("b", tree.DecisionTreeRegressor(max_depth=3))]),
        "MLPRegressor": neural_network.MLPRegressor(hidden_layer_sizes=(16, 8), max_iter=80, random_state=0),
        "KNeighborsRegressor": neighbors.KNeighborsRegressor(),
    }
    for name, model in regressors.items():
        yield f"skl_{name}", functools.partial(sk_case, model, "real")
        if name in ("LinearRegression", "RandomForestRegressor", "GradientBoostingRegressor", "SVR_rbf", "MLPRegressor"):
            yield f"skl_{name}_double", functools.partial(sk_case, model, "real", dtype=np.float64)
    yield "skl_Poisson", lambda: sk_positive(lm.PoissonRegressor())
    yield "skl_Gamma", lambda: sk_positive(lm.GammaRegressor())
    yield "skl_Tweedie", lambda: sk_positive(lm.TweedieRegressor(power=1.5))
    for name, model in {"RandomForest": ensemble.RandomForestRegressor(5, max_depth=5, random_state=0), "Ridge": lm.Ridge(),
                        "MultiTaskLasso": lm.MultiTaskLasso(0.01), "DecisionTree": tree.DecisionTreeRegressor(max_depth=5)}.items():
        yield f"skl_multi_output_{name}", functools.partial(sk_multi, model)
    classifiers = {
        "LogisticRegression": lm.LogisticRegression(), "SGDClassifier": lm.SGDClassifier(loss="log_loss", random_state=0),
        "Perceptron": lm.Perceptron(random_state=0), "RidgeClassifier": lm.RidgeClassifier(), "LinearSVC": svm.LinearSVC(),
        "SVC_rbf": svm.SVC(), "SVC_linear": svm.SVC(kernel="linear"), "SVC_poly": svm.SVC(kernel="poly"),
        "SVC_sigmoid": svm.SVC(kernel="sigmoid"), "SVC_rbf_proba": svm.SVC(probability=True, random_state=0, C=0.5),
        "SVC_poly2_proba": svm.SVC(kernel="poly", degree=2, probability=True, random_state=0), "NuSVC": svm.NuSVC(),
        "DecisionTreeClassifier": tree.DecisionTreeClassifier(random_state=0),
        "RandomForestClassifier": ensemble.RandomForestClassifier(10, max_depth=5, random_state=0),
        "RandomForestClassifier_deep": ensemble.RandomForestClassifier(20, random_state=0),
        "ExtraTreesClassifier": ensemble.ExtraTreesClassifier(10, random_state=0),
        "GradientBoostingClassifier": ensemble.GradientBoostingClassifier(n_estimators=10, random_state=0),
        "HistGradientBoostingClassifier": ensemble.HistGradientBoostingClassifier(max_iter=20),
        "AdaBoostClassifier": ensemble.AdaBoostClassifier(n_estimators=6, random_state=0),
        "BaggingClassifier": ensemble.BaggingClassifier(n_estimators=4, random_state=0),
        "VotingClassifier_soft": ensemble.VotingClassifier([("a", lm.LogisticRegression()), ("b", tree.DecisionTreeClassifier(max_depth=3))], voting="soft", flatten_transform=False),
        "VotingClassifier_hard": ensemble.VotingClassifier([("a", lm.LogisticRegression()), ("b", tree.DecisionTreeClassifier(max_depth=3))], flatten_transform=False),
        "StackingClassifier": ensemble.StackingClassifier([("a", lm.LogisticRegression()), ("b", tree.DecisionTreeClassifier(max_depth=3))]),
        "CalibratedClassifierCV": calibration.CalibratedClassifierCV(svm.LinearSVC(), cv=3),
        "CalibratedClassifierCV_isotonic": calibration.CalibratedClassifierCV(lm.LogisticRegression(), method="isotonic", cv=3),
        "OneVsRestClassifier": multiclass.OneVsRestClassifier(lm.LogisticRegression()),
        "OneVsOneClassifier": multiclass.OneVsOneClassifier(lm.LogisticRegression()),
        "GaussianNB": naive_bayes.GaussianNB(), "BernoulliNB": naive_bayes.BernoulliNB(),
        "LDA": discriminant_analysis.LinearDiscriminantAnalysis(), "QDA": discriminant_analysis.QuadraticDiscriminantAnalysis(),
        "MLPClassifier_relu": neural_network.MLPClassifier((8,), max_iter=60, random_state=0),
        "MLPClassifier_tanh": neural_network.MLPClassifier((8, 4), activation="tanh", max_iter=60, random_state=0),
        "MLPClassifier_logistic": neural_network.MLPClassifier((8,), activation="logistic", max_iter=60, random_state=0),
        "MLPClassifier_identity": neural_network.MLPClassifier((8,), activation="identity", max_iter=60, random_state=0),
        "KNeighborsClassifier": neighbors.KNeighborsClassifier(),
    }
    for name, model in classifiers.items():
        yield f"skl_{name}", functools.partial(sk_case, model, "class")
        yield f"skl_{name}_3", functools.partial(sk_case, model, "class", classes=3)
        if name in ("LogisticRegression", "SVC_rbf_proba", "RandomForestClassifier", "GradientBoostingClassifier", "MLPClassifier_relu", "LinearSVC"):
            yield f"skl_{name}_texts", functools.partial(sk_case, model, "class", classes=4, texts=True)
            yield f"skl_{name}_zipmap", functools.partial(sk_case, model, "class", classes=3, zipmap=True)
            yield f"skl_{name}_double", functools.partial(sk_case, model, "class", dtype=np.float64)
            yield f"skl_{name}_ints", functools.partial(sk_case, model, "class", dtype=np.int64, shift=3.0)
            yield f"skl_{name}_raw", functools.partial(sk_case, model, "class", classes=3, options={"raw_scores": True})
            for main, ml in [(9, 1), (11, 1), (12, 2), (13, 2), (15, 3), (17, 3), (18, 3), (21, 3)]:
                opset = {"": main, "ai.onnx.ml": ml}
                yield f"skl_{name}_opset{main}_{ml}", functools.partial(sk_case, model, "class", opset=opset)
    yield "skl_MultinomialNB", lambda: sk_counts(naive_bayes.MultinomialNB())
    yield "skl_ComplementNB", lambda: sk_counts(naive_bayes.ComplementNB())
    yield "skl_CategoricalNB", lambda: sk_counts(naive_bayes.CategoricalNB(min_categories=12))
    transformers = {
        "StandardScaler": preprocessing.StandardScaler(), "MinMaxScaler": preprocessing.MinMaxScaler(),
        "MinMaxScaler_clip": preprocessing.MinMaxScaler(clip=True), "MaxAbsScaler": preprocessing.MaxAbsScaler(),
        "RobustScaler": preprocessing.RobustScaler(), "Normalizer_l1": preprocessing.Normalizer("l1"),
        "Normalizer_l2": preprocessing.Normalizer("l2"), "Normalizer_max": preprocessing.Normalizer("max"),
        "Binarizer": preprocessing.Binarizer(threshold=0.1), "KBins_onehot": preprocessing.KBinsDiscretizer(4, encode="onehot-dense"),
        "KBins_ordinal": preprocessing.KBinsDiscretizer(4, encode="ordinal"), "PolynomialFeatures": preprocessing.PolynomialFeatures(2),
        "PolynomialFeatures_3": preprocessing.PolynomialFeatures(3, interaction_only=True),
        "PowerTransformer": preprocessing.PowerTransformer(), "SplineTransformer": preprocessing.SplineTransformer(),
        "QuantileTransformer": preprocessing.QuantileTransformer(n_quantiles=20), "PCA": decomposition.PCA(3),
        "PCA_whiten": decomposition.PCA(3, whiten=True), "TruncatedSVD": decomposition.TruncatedSVD(3),
        "IncrementalPCA": decomposition.IncrementalPCA(3), "KernelPCA": decomposition.KernelPCA(3, kernel="rbf"),
        "VarianceThreshold": feature_selection.VarianceThreshold(0.5), "SelectKBest": feature_selection.SelectKBest(k=3),
        "KMeans": cluster.KMeans(4, n_init=1, random_state=0), "MiniBatchKMeans": cluster.MiniBatchKMeans(4, n_init=1, random_state=0),
        "GaussianMixture": mixture.GaussianMixture(3, random_state=0), "IsolationForest": ensemble.IsolationForest(n_estimators=20, random_state=0),
        "OneClassSVM": svm.OneClassSVM(), "FunctionTransformer": preprocessing.FunctionTransformer(),
        "pipeline_pca_lr": pipeline.make_pipeline(preprocessing.StandardScaler(), decomposition.PCA(4), lm.LogisticRegression()),
        "pipeline_select_gb": pipeline.make_pipeline(feature_selection.SelectKBest(k=3), ensemble.GradientBoostingClassifier(n_estimators=5)),
        "FeatureUnion": pipeline.make_union(preprocessing.StandardScaler(), decomposition.PCA(2)),
    }
    for name, model in transformers.items():
        opset = {"": 18, "ai.onnx.ml": 3} if name == "IsolationForest" else None
        yield f"skl_{name}", functools.partial(sk_case, model, "class", opset=opset)
    # Without the loops that distances are exported to by default.
    for model in (neighbors.KNeighborsClassifier(), neighbors.KNeighborsClassifier(3, weights="distance")):
        yield f"skl_KNeighborsClassifier_cdist_{model.n_neighbors}", functools.partial(sk_case, model, "class", classes=3, options={"optim": "cdist"})
    yield "skl_KNeighborsRegressor_cdist", functools.partial(sk_case, neighbors.KNeighborsRegressor(), "real", options={"optim": "cdist"})
    for strategy in ("mean", "median", "most_frequent", "constant"):
        yield f"skl_SimpleImputer_{strategy}", functools.partial(sk_missing, strategy)
    for name in ("OneHotEncoder", "OneHotEncoder_strict", "OrdinalEncoder", "OneHotEncoder_drop", "OrdinalEncoder_unknown", "TargetEncoder"):
        for kind in ("texts", "ints"):
            yield f"skl_{name}_{kind}", functools.partial(sk_categories, name, kind)
    for name in ("LabelEncoder", "LabelBinarizer"):
        for kind in ("texts", "ints"):
            yield f"skl_{name}_{kind}", functools.partial(sk_labels, name, kind)
    for model in ("lr", "gb", "rf"):
        yield "skl_pipeline_mixed" + ("" if model == "lr" else "_" + model), functools.partial(sk_mixed, model)


def sk_positive(model):
    x, y = data("real")
    model.fit(x, np.exp(y))
    return to_onnx(model, x), {"X": x[:ROWS]}


def sk_multi(model):
    x, y = data("real")
    model.fit(x, np.stack([y, -2 * y, x[:, 3]], axis=1))
    return to_onnx(model, x), {"X": x[:ROWS]}


def sk_counts(model):
    x, y = data("class", classes=3)
    x = np.round(np.abs(x) * 2).astype(np.float32)
    model.fit(x, y)
    return to_onnx(model, x), {"X": x[:ROWS]}


def sk_missing(strategy):
    from sklearn.impute import SimpleImputer

    x, _ = data("class")
    x = x.copy()
    x[rng(3).random(x.shape) < 0.2] = np.nan
    model = SimpleImputer(strategy=strategy, fill_value=-1.0 if strategy == "constant" else None).fit(x)
    return to_onnx(model, x), {"X": x[:ROWS]}


def sk_categories(name, kind):
    from sklearn import preprocessing
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import Int64TensorType, StringTensorType

    r = rng(5)
    x = r.integers(0, 5, size=(300, 3))
    if kind == "texts":
        x = np.array(["red", "green", "blue", "a longer one", "" if name != "OneHotEncoder_strict" else "grey"], dtype=object)[x]
    model = {
        "OneHotEncoder": preprocessing.OneHotEncoder(handle_unknown="ignore"), "OneHotEncoder_strict": preprocessing.OneHotEncoder(), "OneHotEncoder_drop": preprocessing.OneHotEncoder(drop="first"),
        "OrdinalEncoder": preprocessing.OrdinalEncoder(), "TargetEncoder": preprocessing.TargetEncoder(),
        "OrdinalEncoder_unknown": preprocessing.OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    }[name]
    model.fit(x, r.integers(0, 2, 300))
    declared = (StringTensorType if kind == "texts" else Int64TensorType)([None, 3])
    x = x[:ROWS].copy()
    if name in ("OneHotEncoder", "OrdinalEncoder_unknown"):
        x[0, 0] = "unseen" if kind == "texts" else 99
    return convert_sklearn(model, initial_types=[("X", declared)]), {"X": x}


def sk_labels(name, kind):
    from sklearn import preprocessing
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import Int64TensorType, StringTensorType

    y = rng(6).integers(0, 4, size=200)
    if kind == "texts":
        y = np.array(["red", "green", "blue", "black"], dtype=object)[y]
    model = getattr(preprocessing, name)().fit(y)
    declared = (StringTensorType if kind == "texts" else Int64TensorType)([None])
    return convert_sklearn(model, initial_types=[("X", declared)]), {"X": y[:ROWS]}


def sk_mixed(kind):
    """Numbers with gaps and two text columns, as a table has them: one input a column."""
    import pandas
    from sklearn import compose, ensemble, impute, linear_model, pipeline, preprocessing
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    r = rng(7)
    frame = pandas.DataFrame({"age": r.normal(40, 10, 300).astype(np.float32), "income": r.gamma(2, 2, 300).astype(np.float32),
                              "city": np.array(["bern", "rome", "oslo"])[r.integers(0, 3, 300)],
                              "plan": np.array(["free", "pro"])[r.integers(0, 2, 300)]})
    frame.loc[r.random(300) < 0.1, "income"] = np.nan
    y = (frame.age.fillna(0) + 10 * (frame.city == "rome") > 42).astype(int)
    numbers = pipeline.make_pipeline(impute.SimpleImputer(strategy="median"), preprocessing.StandardScaler())
    model = {"lr": linear_model.LogisticRegression(), "gb": ensemble.GradientBoostingClassifier(n_estimators=8),
             "rf": ensemble.RandomForestClassifier(8, max_depth=6, random_state=0)}[kind]
    whole = pipeline.make_pipeline(compose.ColumnTransformer([
        ("n", numbers, ["age", "income"]), ("c", preprocessing.OneHotEncoder(handle_unknown="ignore"), ["city", "plan"])]), model)
    whole.fit(frame, y)
    kinds = [(c, (StringTensorType if c in ("city", "plan") else FloatTensorType)([None, 1])) for c in frame]
    feeds = {c: frame[[c]].to_numpy(dtype=object if c in ("city", "plan") else np.float32)[:ROWS] for c in frame}
    return convert_sklearn(whole, initial_types=kinds, options={id(whole): {"zipmap": False}}), feeds


def boosting_cases():
    def xgb(kind, missing=False, **settings):
        import xgboost
        from onnxmltools import convert_xgboost
        from onnxmltools.convert.common.data_types import FloatTensorType

        classes = settings.pop("classes", 2)
        x, y = data("real" if kind == "XGBRegressor" or kind == "XGBRFRegressor" else "class", classes=classes)
        x = x.copy()
        if missing:
            x[rng(8).random(x.shape) < 0.2] = np.nan
        if settings.get("objective", "").startswith(("count", "reg:gamma", "reg:tweedie")):
            y = np.round(np.exp(y)) + (settings["objective"] == "reg:gamma")
        model = getattr(xgboost, kind)(n_estimators=settings.pop("n_estimators", 12), max_depth=settings.pop("max_depth", 4), **settings).fit(x, y)
        return convert_xgboost(model, initial_types=[("X", FloatTensorType([None, x.shape[1]]))]), {"X": x[:ROWS]}

    yield "xgb_binary", lambda: xgb("XGBClassifier")
    yield "xgb_binary_missing", lambda: xgb("XGBClassifier", missing=True, n_estimators=5)
    yield "xgb_binary_deep", lambda: xgb("XGBClassifier", max_depth=12, n_estimators=40)
    yield "xgb_multi", lambda: xgb("XGBClassifier", classes=4)
    yield "xgb_multi_missing", lambda: xgb("XGBClassifier", classes=3, missing=True)
    yield "xgb_regression", lambda: xgb("XGBRegressor")
    yield "xgb_regression_missing", lambda: xgb("XGBRegressor", missing=True, max_depth=7)
    yield "xgb_poisson", lambda: xgb("XGBRegressor", objective="count:poisson")
    yield "xgb_gamma", lambda: xgb("XGBRegressor", objective="reg:gamma", min_child_weight=0.1)
    yield "xgb_tweedie", lambda: xgb("XGBRegressor", objective="reg:tweedie")
    yield "xgb_hinge", lambda: xgb("XGBRegressor", objective="reg:absoluteerror")
    yield "xgb_random_forest", lambda: xgb("XGBRFRegressor")
    yield "xgb_random_forest_binary", lambda: xgb("XGBRFClassifier")
    yield "xgb_base_score", lambda: xgb("XGBClassifier", base_score=0.3)
    yield "xgb_lossguide", lambda: xgb("XGBClassifier", grow_policy="lossguide", max_leaves=20, max_depth=0, tree_method="hist")

    def lgbm(kind, missing=False, categorical=False, **settings):
        import lightgbm
        from onnxmltools import convert_lightgbm
        from onnxmltools.convert.common.data_types import FloatTensorType

        classes = settings.pop("classes", 2)
        x, y = data("real" if kind == "LGBMRegressor" else "class", classes=classes)
        x = x.copy()
        if missing:
            x[rng(8).random(x.shape) < 0.2] = np.nan
        if categorical:
            x[:, 3] = rng(9).integers(0, 12, len(x))
            y = y + (x[:, 3] % 3 == 0) if kind == "LGBMRegressor" else (y + (x[:, 3] % 3 == 0)) % 2
        if settings.get("objective") in ("poisson", "gamma", "tweedie"):
            y = np.exp(y)
        model = getattr(lightgbm, kind)(n_estimators=settings.pop("n_estimators", 12), verbose=-1, **settings)
        model.fit(x, y, **({"categorical_feature": [3]} if categorical else {}))
        zipmap = {} if kind == "LGBMRegressor" else {"zipmap": False}
        return convert_lightgbm(model, initial_types=[("X", FloatTensorType([None, x.shape[1]]))], **zipmap), {"X": x[:ROWS]}

    yield "lgbm_binary", lambda: lgbm("LGBMClassifier", n_estimators=4, num_leaves=10)
    yield "lgbm_binary_missing", lambda: lgbm("LGBMClassifier", missing=True)
    yield "lgbm_binary_large", lambda: lgbm("LGBMClassifier", n_estimators=60, num_leaves=63, min_child_samples=2)
    yield "lgbm_multi", lambda: lgbm("LGBMClassifier", classes=4)
    yield "lgbm_regression", lambda: lgbm("LGBMRegressor")
    yield "lgbm_regression_categorical", lambda: lgbm("LGBMRegressor", categorical=True)
    yield "lgbm_binary_categorical", lambda: lgbm("LGBMClassifier", categorical=True, min_data_per_group=5, cat_smooth=1)
    yield "lgbm_poisson", lambda: lgbm("LGBMRegressor", objective="poisson")
    yield "lgbm_dart", lambda: lgbm("LGBMClassifier", boosting_type="dart")
    yield "lgbm_rf", lambda: lgbm("LGBMClassifier", boosting_type="rf", bagging_fraction=0.7, bagging_freq=1)
    yield "lgbm_extra", lambda: lgbm("LGBMRegressor", extra_trees=True, missing=True)


# ---------------------------------------------------------------- hand-made nodes


def graph_of(nodes, inputs, outputs, initializers=(), main=17, ml=3):
    info = lambda name, dtype, shape: helper.make_tensor_value_info(name, dtype, shape)
    graph = helper.make_graph(nodes, "g", [info(*i) for i in inputs], [info(*o) for o in outputs],
                              [numpy_helper.from_array(a, n) for n, a in initializers])
    opsets = [helper.make_opsetid("", main), helper.make_opsetid("ai.onnx.ml", ml)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8 if main < 21 else 10)


F, D, I64, I32, S, B = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.INT32, TensorProto.STRING, TensorProto.BOOL)
ML = "ai.onnx.ml"


def random_trees(trees, features, modes, seed, depth=4, missing=False):
    """Lists of nodes of random trees and their leaves as (tree, node)."""
    r = rng(seed)
    nodes = {k: [] for k in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids", "missing_value_tracks_true")}
    leaves = []

    def grow(tree, level, counter):
        me = counter[0]
        counter[0] += 1
        at = len(nodes["treeids"])
        leaf = level == depth or (level > 1 and r.random() < 0.25)
        mode = "LEAF" if leaf else modes[r.integers(len(modes))]
        value = 0.0 if leaf else float(np.round(r.normal(), 1))
        row = dict(treeids=tree, nodeids=me, featureids=0 if leaf else int(r.integers(features)), values=value, modes=mode,
                   truenodeids=0, falsenodeids=0, missing_value_tracks_true=int(missing and not leaf and r.random() < 0.5))
        for key, v in row.items():
            nodes[key].append(v)
        if leaf:
            leaves.append((tree, me))
        else:
            nodes["truenodeids"][at] = grow(tree, level + 1, counter)
            nodes["falsenodeids"][at] = grow(tree, level + 1, counter)
        return me

    for tree in range(trees):
        grow(tree, 0, [0])
    return {f"nodes_{k}": v for k, v in nodes.items()}, leaves


ALL_MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
POSTS = ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"]


def tree_inputs(features, seed=11, missing=False):
    x = np.round(rng(seed).normal(size=(ROWS, features)), 1).astype(np.float32)
    if missing:
        x[rng(seed + 1).random(x.shape) < 0.2] = np.nan
    return x


def tree_regressor(targets=1, aggregate="SUM", post="NONE", base=(), modes=("BRANCH_LEQ",), missing=False, trees=9, depth=4,
                   dtype=np.float32, tensors=False, rows=ROWS, holes=False):
    nodes, leaves = random_trees(trees, 4, list(modes), 21, depth, missing)
    r = rng(22)
    entries = [(t, n, k) for t, n in leaves for k in range(targets) if not holes or r.random() < 0.6]
    weights = r.uniform(0.05, 0.2 if post == "PROBIT" else 1.0, len(entries)) * (1 / trees if post == "PROBIT" else r.choice([-1, 1], len(entries)))
    attrs = dict(nodes, target_treeids=[e[0] for e in entries], target_nodeids=[e[1] for e in entries], target_ids=[e[2] for e in entries],
                 target_weights=weights.astype(np.float32).tolist(), n_targets=targets, aggregate_function=aggregate, post_transform=post)
    if base:
        attrs["base_values"] = list(base)
    if tensors:
        for key in ("nodes_values", "target_weights") + (("base_values",) if base else ()):
            attrs[key + "_as_tensor"] = numpy_helper.from_array(np.array(attrs.pop(key), dtype=dtype), key)
    node = helper.make_node("TreeEnsembleRegressor", ["X"], ["Y"], domain=ML, **attrs)
    kind = {np.float32: F, np.float64: D, np.int64: I64}[dtype]
    x = tree_inputs(4, missing=missing)[:rows]
    x = (x * 3).astype(dtype) if dtype == np.int64 else x.astype(dtype)
    return graph_of([node], [("X", kind, [None, 4])], [("Y", F, [None, targets])]), {"X": x}


def tree_classifier(classes=2, sided="both", base=(), post="NONE", texts=False, positive=False, modes=("BRANCH_LEQ",), labels=None, trees=7):
    nodes, leaves = random_trees(trees, 4, list(modes), 31)
    r = rng(32)
    entries = []
    for tree, node in leaves:
        targets = {"both": range(classes), "one": [0], "one1": [1], "per_tree": [tree % classes], "some": [k for k in range(classes) if r.random() < 0.6]}[sided]
        entries += [(tree, node, k) for k in targets]
    weights = r.uniform(0.01, 0.2, len(entries)) * (1 if positive else r.choice([-1, 1], len(entries)))
    attrs = dict(nodes, class_treeids=[e[0] for e in entries], class_nodeids=[e[1] for e in entries], class_ids=[e[2] for e in entries],
                 class_weights=weights.astype(np.float32).tolist(), post_transform=post)
    if base:
        attrs["base_values"] = list(base)
    if texts:
        attrs["classlabels_strings"] = ["no", "yes", "maybe", "never"][:classes]
    else:
        attrs["classlabels_int64s"] = labels or list(range(classes))
    node = helper.make_node("TreeEnsembleClassifier", ["X"], ["L", "Y"], domain=ML, **attrs)
    outputs = [("L", S if texts else I64, [None]), ("Y", F, [None, classes])]
    return graph_of([node], [("X", F, [None, 4])], outputs), {"X": tree_inputs(4)}


def tree_v5(modes=(0,), member=False, targets=1, aggregate=1, post=0, missing=False, dtype=np.float32, trees=5):
    r = rng(41)
    inner, leaves, roots = [], [], []

    def leaf():
        leaves.append((int(r.integers(targets)), float(np.round(r.uniform(0.01, 0.1), 3))))
        return len(leaves) - 1, 1

    def grow(level):
        if level == 3 or (level > 0 and r.random() < 0.2):
            return leaf()
        at = len(inner)
        inner.append(None)
        mode = 6 if member and r.random() < 0.5 else int(r.choice(modes))
        members = r.integers(-3, 4, r.integers(1, 5)).astype(float).tolist() if mode == 6 else None  # The reference takes whole numbers only.
        yes, no = grow(level + 1), grow(level + 1)
        inner[at] = (mode, int(r.integers(4)), float(np.round(r.normal(), 1)), yes, no, members, int(missing and r.random() < 0.5))
        return at, 0

    for _ in range(trees):
        at, is_leaf = grow(0)
        roots.append(at)
    tensor = lambda values, name, dt=dtype: numpy_helper.from_array(np.array(values, dtype=dt), name)
    attrs = dict(
        n_targets=targets, aggregate_function=aggregate, post_transform=post, tree_roots=roots,
        nodes_modes=tensor([n[0] for n in inner], "m", np.uint8), nodes_featureids=[n[1] for n in inner],
        nodes_splits=tensor([n[2] for n in inner], "s"), nodes_truenodeids=[n[3][0] for n in inner], nodes_trueleafs=[n[3][1] for n in inner],
        nodes_falsenodeids=[n[4][0] for n in inner], nodes_falseleafs=[n[4][1] for n in inner],
        leaf_targetids=[l[0] for l in leaves], leaf_weights=tensor([l[1] for l in leaves], "w"))
    if missing:
        attrs["nodes_missing_value_tracks_true"] = [n[6] for n in inner]
    if member:
        sets = [v for n in inner if n[5] is not None for v in n[5] + [np.nan]]
        attrs["membership_values"] = tensor(sets, "v")
    node = helper.make_node("TreeEnsemble", ["X"], ["Y"], domain=ML, **attrs)
    kind = F if dtype == np.float32 else D
    model = graph_of([node], [("X", kind, [None, 4])], [("Y", kind, [None, targets])], main=21, ml=5)
    x = tree_inputs(4, missing=missing).astype(dtype)
    return model, {"X": np.round(2 * x) if member else x}


def tree_cases():
    p = functools.partial
    for mode in ALL_MODES:
        yield f"treer_{mode}", p(tree_regressor, modes=[mode])
        yield f"treer_{mode}_missing", p(tree_regressor, modes=[mode], missing=True)
        yield f"treec_{mode}", p(tree_classifier, modes=[mode], classes=3)
    yield "treer_all_modes", p(tree_regressor, modes=ALL_MODES, missing=True, trees=30)
    yield "treer_deep", p(tree_regressor, modes=ALL_MODES, missing=True, trees=12, depth=11)
    yield "treer_deep_targets", p(tree_regressor, targets=3, trees=12, depth=11)
    for rows in (1, 2, 5, 6, 63, 64, 65):
        yield f"treer_rows{rows}", p(tree_regressor, rows=rows, trees=21)
        yield f"treer_rows{rows}_targets", p(tree_regressor, rows=rows, targets=2, trees=21)
    for aggregate, targets, holes in itertools.product(("SUM", "AVERAGE", "MIN", "MAX"), (1, 3), (False, True)):
        if holes and targets == 1:
            continue
        for base in ((), (0.25,) if targets == 1 else (0.25, -0.5, 0.125)):
            yield f"treer_{aggregate}_{targets}{'_holes' if holes else ''}{'_base' if base else ''}", p(
                tree_regressor, targets=targets, aggregate=aggregate, base=base, holes=holes)
    for post, targets in itertools.product(POSTS, (1, 2, 3)):
        yield f"treer_post_{post}_{targets}", p(tree_regressor, targets=targets, post=post)
    yield "treer_double", p(tree_regressor, dtype=np.float64)
    yield "treer_double_tensors", p(tree_regressor, dtype=np.float64, tensors=True, base=(0.5,))
    yield "treer_tensors", p(tree_regressor, tensors=True)
    yield "treer_ints", p(tree_regressor, dtype=np.int64)
    for sided, positive, post in itertools.product(("both", "one", "one1", "per_tree", "some"), (True, False), POSTS):
        if sided.startswith("one") and post == "PROBIT":
            continue  # As for linear models.
        for base in ((), (0.1,), (0.1, -0.2)):
            name = f"treec_2_{sided}{'_positive' if positive else ''}_base{len(base)}_{post}"
            name = name.replace("_one_", "_one_sided_")
            yield name, p(tree_classifier, sided=sided, positive=positive, base=base, post=post)
    for sided, post, base in itertools.product(("both", "per_tree", "some"), POSTS, ((), (0.1, 0.0, -0.2))):
        yield f"treec_3_{sided}_{post}_base{len(base)}", p(tree_classifier, classes=3, sided=sided, base=base, post=post, positive=post == "PROBIT")
    yield "treec_texts_2", p(tree_classifier, texts=True, sided="one")
    yield "treec_texts_2_both", p(tree_classifier, texts=True, sided="both")
    yield "treec_texts_3", p(tree_classifier, texts=True, classes=3)
    yield "treec_labels", p(tree_classifier, labels=[3, 7], sided="one")
    # With weights for both of two classes the reference answers 0 and 1 whatever the labels are; the evaluator answers labels.
    for mode in range(6):
        yield f"tree5_mode{mode}", p(tree_v5, modes=(mode,))
        yield f"tree5_mode{mode}_missing", p(tree_v5, modes=(mode,), missing=True)
    yield "tree5_member", p(tree_v5, member=True)
    yield "tree5_member_missing", p(tree_v5, member=True, missing=True)
    yield "tree5_all", p(tree_v5, modes=range(6), member=True, targets=3, trees=20)
    yield "tree5_double", p(tree_v5, modes=range(6), dtype=np.float64)
    for aggregate, post in itertools.product(range(4), range(5)):
        yield f"tree5_agg{aggregate}_post{post}", p(tree_v5, aggregate=aggregate, post=post, targets=2)


def ml_node(op, attrs, x, outputs, names=("Y",), ml=3, main=17):
    kinds = {"float32": F, "float64": D, "int64": I64, "int32": I32, "object": S, "bool": B}
    xs = x if isinstance(x, list) else [x]
    inputs = [(f"X{i}", kinds[str(v.dtype)], [None] + list(v.shape[1:])) for i, v in enumerate(xs)]
    node = helper.make_node(op, [i[0] for i in inputs], list(names), domain=ML, **attrs)
    declared = [(name, kind, None) for name, kind in zip(names, outputs)]
    return graph_of([node], inputs, declared, ml=ml, main=main), {i[0]: v for i, v in zip(inputs, xs)}


def ml_cases():
    p = functools.partial
    x = rng(51).normal(size=(ROWS, 4)).astype(np.float32)
    gaps = x.copy()
    gaps[rng(52).random(x.shape) < 0.3] = np.nan
    ints = rng(53).integers(0, 5, (ROWS, 3))
    texts = np.array(["a", "b", "c", "d", ""], dtype=object)[ints]
    two = rng(54).normal(size=4).round(2).tolist()
    for classes, targets in ((2, 2), (2, 1), (3, 3)):
        for post, kind in itertools.product(POSTS, ("ints", "strings")):
            attrs = dict(coefficients=(rng(55).normal(size=4 * targets) * 0.05).round(3).tolist(), intercepts=[0.4] * targets, post_transform=post)
            if targets == 1 and post == "PROBIT":
                continue  # The reference leaves every second score unwritten.
            labels = [5, 9, 11][:classes]
            attrs.update({"classlabels_ints": labels} if kind == "ints" else {"classlabels_strings": ["five", "nine", "eleven"][:classes]})
            yield f"ml_LinearClassifier_{classes}_{targets}_{post}_{kind}", p(ml_node, "LinearClassifier", attrs, x, (I64 if kind == "ints" else S, F), ("L", "Y"))
    for targets, post in itertools.product((1, 2), POSTS):
        attrs = dict(coefficients=(rng(56).normal(size=4 * targets) * 0.05).round(3).tolist(), intercepts=[0.3] * targets, targets=targets, post_transform=post)
        yield f"ml_LinearRegressor_{targets}_{post}", p(ml_node, "LinearRegressor", attrs, x, (F,))
    for kernel in ("LINEAR", "POLY", "RBF", "SIGMOID"):
        for one_class in (0, 1):
            attrs = dict(kernel_type=kernel, kernel_params=[0.3, 0.2, 3.0], coefficients=two[:3], rho=[0.1], n_supports=3, one_class=one_class,
                         support_vectors=rng(57).normal(size=12).round(2).tolist())
            yield f"ml_SVMRegressor_{kernel}_{one_class}", p(ml_node, "SVMRegressor", attrs, x, (F,))
        for proba, post in itertools.product((False, True), POSTS):
            for classes in (2, 3):
                if classes == 2 and post == "PROBIT" and not proba:
                    continue  # As above.
                pairs = classes * (classes - 1) // 2
                attrs = dict(kernel_type=kernel, kernel_params=[0.3, 0.2, 2.0], vectors_per_class=[2] * classes, rho=[0.1] * pairs, post_transform=post,
                             coefficients=rng(58).normal(size=2 * classes * (classes - 1)).round(2).tolist(), classlabels_ints=[4, 2, 8][:classes],
                             support_vectors=rng(59).normal(size=8 * classes).round(2).tolist())
                if proba:
                    attrs.update(prob_a=[-1.5] * pairs, prob_b=[0.1] * pairs)
                yield f"ml_SVMClassifier_{kernel}_{classes}_{'proba_' if proba else ''}{post}", p(ml_node, "SVMClassifier", attrs, x, (I64, F), ("L", "Y"))
    for classes in (2, 3):
        attrs = dict(kernel_type="LINEAR", kernel_params=[0.0, 0.0, 0.0], coefficients=rng(60).normal(size=4 * classes).round(2).tolist(), rho=[0.1], classlabels_strings=["a", "b", "c"][:classes])
        yield f"ml_SVMClassifier_liblinear_{classes}", p(ml_node, "SVMClassifier", attrs, x, (S, F), ("L", "Y"))
    for n, kind in itertools.product((1, 4), ("float32", "float64", "int64")):
        yield f"ml_Scaler_{n}_{kind}", p(ml_node, "Scaler", dict(offset=two[:n], scale=two[:n]), (x * 9).astype(kind), (F,))
    for norm, kind in itertools.product(("MAX", "L1", "L2"), ("float32", "float64", "int64")):
        yield f"ml_Normalizer_{norm}_{kind}", p(ml_node, "Normalizer", dict(norm=norm), (x * 9).astype(kind), (F,))
    yield "ml_Normalizer_zero", p(ml_node, "Normalizer", dict(norm="L2"), np.zeros((3, 2), np.float32), (F,))
    yield "ml_Binarizer", p(ml_node, "Binarizer", dict(threshold=0.2), x, (F,))
    for n in (1, 4):
        yield f"ml_Imputer_nan_{n}", p(ml_node, "Imputer", dict(imputed_value_floats=two[:n], replaced_value_float=float("nan")), gaps, (F,))
    yield "ml_Imputer_value", p(ml_node, "Imputer", dict(imputed_value_floats=[7.0], replaced_value_float=2.0), ints.astype(np.float32), (F,))
    yield "ml_Imputer_int", p(ml_node, "Imputer", dict(imputed_value_int64s=[7, 8, 9], replaced_value_int64=2), ints, (I64,))
    for kind in ("float32", "float64", "int64", "int32"):
        yield f"ml_OneHotEncoder_{kind}", p(ml_node, "OneHotEncoder", dict(cats_int64s=[0, 1, 3], zeros=1), ints.astype(kind), (F,))
    yield "ml_OneHotEncoder_texts", p(ml_node, "OneHotEncoder", dict(cats_strings=["a", "c", ""]), texts, (F,))
    yield "ml_OneHotEncoder_vector", p(ml_node, "OneHotEncoder", dict(cats_int64s=[0, 1, 3]), ints[:, 0], (F,))
    yield "ml_FeatureVectorizer", p(ml_node, "FeatureVectorizer", dict(inputdimensions=[4, 3]), [x, ints.astype(np.float32)], (F,))
    yield "ml_FeatureVectorizer_ints", p(ml_node, "FeatureVectorizer", dict(inputdimensions=[3, 3]), [ints, ints], (F,))
    floats = ints.astype(np.float32)
    floats[0, 0] = np.nan
    lists = {"strings": ["a", "c", ""], "int64s": [0, 3, 2], "floats": [0.0, 3.0, float("nan")]}
    sources = {"strings": texts, "int64s": ints, "floats": floats}
    kinds = {"strings": S, "int64s": I64, "floats": F}
    defaults = {"strings": ("default_string", "none"), "int64s": ("default_int64", -9), "floats": ("default_float", 0.5)}
    for source, target, default in itertools.product(lists, lists, (False, True)):
        attrs = {f"keys_{source}": lists[source], f"values_{target}": lists[target]}
        if default:
            attrs[defaults[target][0]] = defaults[target][1]
        for ml in (2, 4):
            yield f"ml_LabelEncoder_{source}_{target}{'_default' if default else ''}_v{ml}", p(ml_node, "LabelEncoder", attrs, sources[source], (kinds[target],), ml=ml)
    t = lambda values, dtype: numpy_helper.from_array(np.array(values, dtype=dtype), "t")
    yield "ml_LabelEncoder_tensors", p(ml_node, "LabelEncoder", dict(keys_tensor=t([0, 3, 2], np.int64), values_tensor=t([0.5, 1.5, 2.5], np.float64), default_tensor=t([-1.0], np.float64)), ints, (D,), ml=4)
    yield "ml_LabelEncoder_tensors_double", p(ml_node, "LabelEncoder", dict(keys_tensor=t([0.5, np.nan], np.float64), values_tensor=t([3, 4], np.int64), default_tensor=t([-1], np.int64)), np.array([[0.5], [np.nan], [2.0]]), (I64,), ml=4)
    yield "ml_LabelEncoder_1_texts", p(ml_node, "LabelEncoder", dict(classes_strings=["a", "c", "d"], default_int64=-5), texts, (I64,), ml=1)
    yield "ml_LabelEncoder_1_ints", p(ml_node, "LabelEncoder", dict(classes_strings=["a", "c", "d"], default_string="?"), ints, (S,), ml=1)
    yield "ml_CategoryMapper_texts", p(ml_node, "CategoryMapper", dict(cats_strings=["a", "c"], cats_int64s=[7, 9]), texts, (I64,))
    yield "ml_CategoryMapper_ints", p(ml_node, "CategoryMapper", dict(cats_strings=["a", "c"], cats_int64s=[0, 3]), ints, (S,))

    def extractor(values, indices):
        node = helper.make_node("ArrayFeatureExtractor", ["X", "I"], ["Y"], domain=ML)
        kind = {"float32": F, "int64": I64, "object": S}[str(values.dtype)]
        return graph_of([node], [("X", kind, [None] + list(values.shape[1:]))], [("Y", kind, None)], [("I", np.array(indices, np.int64))]), {"X": values}

    yield "ml_ArrayFeatureExtractor", p(extractor, x, [2, 0, 2])
    yield "ml_ArrayFeatureExtractor_texts", p(extractor, texts, [1])
    yield "ml_ArrayFeatureExtractor_one", p(extractor, x, [3])


# ---------------------------------------------------------------- main domain


def op(name, xs, outputs=1, main=17, constants=(), **attrs):
    """One node; `xs` come from outside, `constants` follow as stored inputs (None leaves one out)."""
    kinds = {"float32": F, "float64": D, "int64": I64, "int32": I32, "bool": B, "object": S, "uint8": TensorProto.UINT8, "int8": TensorProto.INT8}
    inputs = [(f"X{i}", kinds[str(v.dtype)], [None] + list(v.shape[1:])) for i, v in enumerate(xs)]
    stored = [(f"C{i}", np.asarray(c)) for i, c in enumerate(constants) if c is not None]
    names = [i[0] for i in inputs] + [f"C{i}" if c is not None else "" for i, c in enumerate(constants)]
    node = helper.make_node(name, names, [f"Y{i}" for i in range(outputs)], **attrs)
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info(*i) for i in inputs],
                              [helper.make_empty_tensor_value_info(f"Y{i}") for i in range(outputs)],
                              [numpy_helper.from_array(a, n) for n, a in stored])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", main)], ir_version=8 if main < 21 else 10)
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    return model, {i[0]: v for i, v in zip(inputs, xs)}


def main_cases():
    p = functools.partial
    x = rng(61).normal(size=(6, 4)).astype(np.float32)
    y = rng(62).normal(size=(6, 4)).astype(np.float32)
    pos, cube = np.abs(x) + 0.1, rng(63).normal(size=(5, 3, 4)).astype(np.float32)
    ints, row = rng(64).integers(-4, 5, (6, 4)), y[:1]
    i = lambda *v: np.array(v, np.int64)
    for name in ("Add", "Sub", "Mul", "Div", "Min", "Max", "Pow"):
        a = pos if name == "Pow" else x
        for kind in ("float32", "float64", "int64", "int32"):
            b = np.where(ints == 0, 1, ints) if kind.startswith("int") else y
            left = np.abs(ints) if kind.startswith("int") and name == "Pow" else (ints * 7 if kind.startswith("int") else a)
            right = np.abs(b) if kind.startswith("int") and name == "Pow" else b
            if name == "Div" and kind.startswith("int"):
                left, right = np.abs(left), np.abs(right)
            yield f"op_{name}_{kind}", p(op, name, [left.astype(kind), right.astype(kind)])
        yield f"op_{name}_row", p(op, name, [a], constants=[row])
        yield f"op_{name}_scalar", p(op, name, [a], constants=[np.float32(1.5)])
        yield f"op_{name}_column", p(op, name, [a], constants=[y[:, :1]])
        yield f"op_{name}_cube", p(op, name, [np.abs(cube) + 0.1], constants=[y[:3, :1]])
    for name in ("Sum", "Mean", "Max", "Min"):
        yield f"op_{name}_three", p(op, name, [x, y, x], constants=[row])
    yield "op_Mod_int", p(op, "Mod", [ints * 3], constants=[i(3)])
    yield "op_Mod_negative", p(op, "Mod", [ints * 3], constants=[i(-4)])
    yield "op_Mod_float", p(op, "Mod", [x * 5], constants=[np.float32(1.5)], fmod=1)
    yield "op_Pow_int_exponent", p(op, "Pow", [x], constants=[i(3)])
    for name in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
        for kind in ("float32", "float64", "int64", "int32"):
            yield f"op_{name}_{kind}", p(op, name, [ints.astype(kind)], constants=[ints[:1].astype(kind)])
    yield "op_Equal_bool", p(op, "Equal", [x > 0, y > 0])
    for name in ("And", "Or", "Xor"):
        yield f"op_{name}", p(op, name, [x > 0, y > 0])
    gaps = np.where(x > 0.5, np.nan, np.where(x < -1, np.inf, x)).astype(np.float32)
    yield "op_Not", p(op, "Not", [x > 0])
    yield "op_IsNaN", p(op, "IsNaN", [gaps])
    yield "op_IsInf", p(op, "IsInf", [gaps])
    for name in ("Abs", "Neg", "Sign", "Exp", "Floor", "Ceil", "Round", "Reciprocal", "Sin", "Cos", "Tan", "Atan", "Sinh", "Cosh", "Erf", "Relu", "LeakyRelu",
                 "Elu", "Selu", "Celu", "Sigmoid", "HardSigmoid", "Tanh", "Softplus", "Softsign", "HardSwish", "ThresholdedRelu"):
        yield f"op_{name}", p(op, name, [x * 2.5])
    yield "op_Mish", p(op, "Mish", [x], main=18)
    for name in ("Sqrt", "Log"):
        yield f"op_{name}", p(op, name, [pos])
        yield f"op_{name}_double", p(op, name, [pos.astype(np.float64)])
    for name in ("Asin", "Acos"):
        yield f"op_{name}", p(op, name, [np.tanh(x)])
    for name in ("Abs", "Neg", "Sign"):
        yield f"op_{name}_int", p(op, name, [ints])
    yield "op_Relu_nan", p(op, "Relu", [gaps])
    yield "op_Round_half", p(op, "Round", [np.array([[0.5, 1.5, -0.5, 2.5]], np.float32)])
    yield "op_LeakyRelu_alpha", p(op, "LeakyRelu", [x], alpha=0.2)
    yield "op_Elu_alpha", p(op, "Elu", [x], alpha=0.5)
    yield "op_PRelu", p(op, "PRelu", [x], constants=[row])
    yield "op_Gelu", p(op, "Gelu", [x], main=20)
    yield "op_Gelu_tanh", p(op, "Gelu", [x], main=20, approximate="tanh")
    for main, axis in ((11, 1), (11, 0), (13, -1), (13, 1), (13, 0)):
        for name in ("Softmax", "LogSoftmax"):
            yield f"op_{name}_{main}_{axis}", p(op, name, [cube * 3], main=main, axis=axis)
    yield "op_Clip_6", p(op, "Clip", [x], main=6, min=-0.5, max=0.7)
    yield "op_Clip", p(op, "Clip", [x], constants=[np.float32(-0.5), np.float32(0.7)])
    yield "op_Clip_max", p(op, "Clip", [x], constants=[None, np.float32(0.7)])
    yield "op_Clip_int", p(op, "Clip", [ints], constants=[i(-2)[0], i(2)[0]])
    yield "op_Clip_nan", p(op, "Clip", [gaps], constants=[np.float32(-0.5), np.float32(0.7)])
    w = rng(65).normal(size=(4, 3)).astype(np.float32)
    yield "op_MatMul", p(op, "MatMul", [x], constants=[w])
    yield "op_MatMul_double", p(op, "MatMul", [x.astype(np.float64)], constants=[w.astype(np.float64)])
    yield "op_MatMul_int", p(op, "MatMul", [ints], constants=[ints[:4, :3]])
    yield "op_MatMul_vector", p(op, "MatMul", [x], constants=[w[:, 0]])
    yield "op_MatMul_batched", p(op, "MatMul", [cube], constants=[w])
    yield "op_MatMul_both_batched", p(op, "MatMul", [cube], constants=[rng(66).normal(size=(5, 4, 2)).astype(np.float32)])
    yield "op_MatMul_stretched", p(op, "MatMul", [cube[:, None]], constants=[rng(66).normal(size=(2, 4, 2)).astype(np.float32)])
    for a, b in itertools.product((0, 1), repeat=2):
        left, right = (x.T.copy() if a else x), (w.T.copy() if b else w)
        yield f"op_Gemm_{a}{b}", p(op, "Gemm", [left], constants=[right, w[0]], transA=a, transB=b, alpha=0.5, beta=1.5)
    yield "op_Gemm_no_c", p(op, "Gemm", [x], constants=[w])
    yield "op_Gemm_scalar_c", p(op, "Gemm", [x], constants=[w, np.float32(2.0)])
    yield "op_Gemm_column_c", p(op, "Gemm", [x], constants=[w, x[:, :1].copy()])
    c4 = np.abs(rng(67).normal(size=(4, 4))).astype(np.float32)
    yield "op_BatchNormalization", p(op, "BatchNormalization", [x], constants=list(c4))
    yield "op_BatchNormalization_cube", p(op, "BatchNormalization", [cube.transpose(0, 2, 1).copy()], constants=list(c4))
    yield "op_LayerNormalization", p(op, "LayerNormalization", [cube], constants=[c4[0], c4[1]])
    yield "op_LayerNormalization_axis", p(op, "LayerNormalization", [cube], constants=[np.abs(cube[0])], axis=1)
    for order, axis in itertools.product((1, 2), (-1, 1)):
        yield f"op_LpNormalization_{order}_{axis}", p(op, "LpNormalization", [cube], p=order, axis=axis)
    kinds = {"float": F, "double": D, "int64": I64, "int32": I32, "bool": B, "string": S}
    values = {"float32": x * 5, "float64": (x * 5).astype(np.float64), "int64": ints, "int32": ints.astype(np.int32), "bool": x > 0}
    for source, target in itertools.product(values, kinds):
        yield f"op_Cast_{source}_{target}", p(op, "Cast", [values[source]], to=kinds[target])
    numbers = np.array([["1", "-2"], ["30", "0"]], dtype=object)
    for target in ("float", "double", "int64", "int32"):
        yield f"op_Cast_string_{target}", p(op, "Cast", [numbers], to=kinds[target])
    yield "op_Cast_text_extremes", p(op, "Cast", [np.array([[1e20, 1e-9, np.nan, np.inf, 123456.789, 0.1, 1.0, 3e7]], np.float32)], to=S)
    for axis in (0, 1, -1):
        yield f"op_Concat_{axis}", p(op, "Concat", [x, y], axis=axis)
    yield "op_Concat_three", p(op, "Concat", [cube, cube], constants=[cube], axis=1)
    texts = np.array([["a", "b"], ["c", ""]], dtype=object)
    yield "op_Concat_texts", p(op, "Concat", [texts, texts], axis=1)
    for shape in ((-1, 2), (0, -1), (2, 12), (24,), (0, 2, -1)):
        yield f"op_Reshape_{'_'.join(map(str, shape))}", p(op, "Reshape", [x], constants=[i(*shape)])
    for axis in (0, 1, 2, -1):
        yield f"op_Flatten_{axis}", p(op, "Flatten", [cube], axis=axis)
    thin = x[:, None, :, None]
    yield "op_Squeeze", p(op, "Squeeze", [thin], constants=[i(1, -1)])
    yield "op_Squeeze_11", p(op, "Squeeze", [thin], main=11, axes=[1])
    yield "op_Unsqueeze", p(op, "Unsqueeze", [x], constants=[i(0, -1)])
    yield "op_Unsqueeze_11", p(op, "Unsqueeze", [x], main=11, axes=[1, 3])
    yield "op_Transpose", p(op, "Transpose", [cube])
    yield "op_Transpose_perm", p(op, "Transpose", [cube], perm=[1, 0, 2])
    for name, (starts, ends, axes, steps) in {"plain": (i(1), i(3), i(1), i(1)), "negative": (i(-3), i(-1), i(1), i(1)), "back": (i(-1), i(-100), i(1), i(-2)),
                                               "two": (i(0, 1), i(2, 99), i(0, 2), i(1, 2)), "empty": (i(3), i(1), i(1), i(1))}.items():
        yield f"op_Slice_{name}", p(op, "Slice", [cube], constants=[starts, ends, axes, steps])
    yield "op_Slice_9", p(op, "Slice", [cube], main=9, starts=[0, 1], ends=[2, 3], axes=[1, 2])
    for axis in (0, 1, 2):
        yield f"op_Gather_{axis}", p(op, "Gather", [cube], constants=[np.array([[0, -1], [1, 1]], np.int64)], axis=axis)
    yield "op_Gather_scalar", p(op, "Gather", [cube], constants=[np.int64(1)], axis=1)
    yield "op_Gather_texts", p(op, "Gather", [texts], constants=[i(1)], axis=1)
    yield "op_GatherElements", p(op, "GatherElements", [x], constants=[np.abs(ints) % 4], axis=1)
    yield "op_GatherND", p(op, "GatherND", [cube], constants=[np.array([[0, 1], [4, 2]], np.int64)])
    yield "op_ScatterElements", p(op, "ScatterElements", [x], constants=[np.abs(ints[:, :2]) % 2 * 2 + np.array([[0, 1]]), y[:, :2].copy()], axis=1)
    yield "op_Expand", p(op, "Expand", [x[:, None]], constants=[i(6, 3, 4)])
    yield "op_Tile", p(op, "Tile", [x], constants=[i(2, 3)])
    yield "op_Shape", p(op, "Shape", [cube])
    yield "op_Shape_part", p(op, "Shape", [cube], start=1, end=-1)
    yield "op_Size", p(op, "Size", [cube])
    yield "op_Split", p(op, "Split", [cube], outputs=2, constants=[i(1, 3)], axis=2)
    yield "op_Split_even", p(op, "Split", [cube], outputs=2, axis=2)
    yield "op_Split_11", p(op, "Split", [cube], outputs=3, main=11, axis=1)
    yield "op_Split_uneven", p(op, "Split", [cube], outputs=2, main=18, axis=1, num_outputs=2)
    yield "op_Pad", p(op, "Pad", [x], constants=[i(0, 1, 2, 0), np.float32(3.5)])
    yield "op_Where", p(op, "Where", [x > 0, x, y])
    yield "op_Where_row", p(op, "Where", [x > 0], constants=[row, np.float32(0)])
    yield "op_Where_int", p(op, "Where", [x > 0, ints], constants=[i(7)])
    yield "op_OneHot", p(op, "OneHot", [ints], constants=[i(5)[0], np.array([0.5, 2.0], np.float32)])
    yield "op_OneHot_axis", p(op, "OneHot", [ints], constants=[i(5)[0], np.array([0, 1], np.int64)], axis=1)
    yield "op_Compress", p(op, "Compress", [x], constants=[np.array([True, False, True])], axis=1)
    yield "op_NonZero", p(op, "NonZero", [(ints > 0).astype(np.float32)])
    ties = np.array([[1, 3, 3, 0], [2, 2, 1, 2]], np.float32)
    for name in ("ArgMax", "ArgMin"):
        for axis, keep, last in itertools.product((0, 1, -1), (0, 1), (0, 1)):
            yield f"op_{name}_{axis}_{keep}_{last}", p(op, name, [ties], axis=axis, keepdims=keep, select_last_index=last)
        yield f"op_{name}_cube", p(op, name, [cube], axis=1)
    for largest, axis in itertools.product((0, 1), (1, 2)):
        yield f"op_TopK_{largest}_{axis}", p(op, "TopK", [cube], outputs=2, constants=[i(2)], axis=axis, largest=largest)
    yield "op_TopK_9", p(op, "TopK", [x], outputs=2, main=9, axis=1, k=2)
    for name in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceProd", "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"):
        value = np.abs(cube) + 0.1
        for axes, keep in (([1], 1), ([0, 2], 0), ([-1], 0)):
            label = "_".join(map(str, axes))
            yield f"op_{name}_{label}_{keep}", p(op, name, [value], main=11, axes=axes, keepdims=keep)
            yield f"op_{name}_{label}_{keep}_18", p(op, name, [value], main=18, constants=[i(*axes)], keepdims=keep)
        yield f"op_{name}_all", p(op, name, [value], main=11, keepdims=0)
    yield "op_ReduceSum_int", p(op, "ReduceSum", [ints], constants=[i(1)])
    yield "op_ReduceSum_noop", p(op, "ReduceSum", [x], constants=[np.zeros(0, np.int64)], noop_with_empty_axes=1)
    for exclusive, reverse in itertools.product((0, 1), repeat=2):
        yield f"op_CumSum_{exclusive}{reverse}", p(op, "CumSum", [cube], constants=[np.int64(1)], exclusive=exclusive, reverse=reverse)
    yield "op_Identity", p(op, "Identity", [x])
    yield "op_Dropout", p(op, "Dropout", [x])
    yield "op_ConstantOfShape", p(op, "ConstantOfShape", [i(2, 3)], value=numpy_helper.from_array(np.array([7.5], np.float32)))
    yield "op_Range", p(op, "Range", [], constants=[np.int64(1), np.int64(9), np.int64(3)])
    yield "op_EyeLike", p(op, "EyeLike", [x], k=1)


def cases():
    yield from sklearn_cases()
    yield from boosting_cases()
    yield from tree_cases()
    yield from ml_cases()
    yield from main_cases()
