"""Mistakes get one clear line, exit code 2, at once, and leave nothing behind."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command import ACCEPTED, Attempt, Once, attempt_all, run_command

# Command line: what its one line must say. The first is the config path, where there is one.
GROUPS_AND_KEYS = {
    "data=digit": ["data:", "'digit'", "did you mean 'digits'"],
    "model=mpl": ["model:", "'mpl'", "did you mean 'mlp'"],
    "optimizer=adamm": ["optimizer:", "'adamm'", "did you mean 'adam'"],
    "search=optunaa": ["search:", "'optunaa'", "did you mean 'optuna'"],
    "search=optuna search/sampler=tep": ["search/sampler:", "'tep'", "did you mean 'tpe'"],
    "cv=stratifed": ["cv:", "'stratifed'", "did you mean 'stratified'"],
    "preprocess=normal": ["preprocess:", "'normal'", "auto", "minmax", "none", "standard"],
    "training=earlystopping": ["training:", "did you mean 'early_stopping'"],
    "space=mlp_wid": ["space:", "'mlp_wid'", "did you mean 'mlp_wide'"],
    "experiment=artcle": ["experiment:", "'artcle'", "did you mean 'article'"],
    "+experiment=artcle": ["experiment:", "'artcle'", "did you mean 'article'"],
    "compute=loca": ["compute:", "'loca'", "did you mean 'local'"],
    "hydra/sweeper=optunaa": ["hydra/sweeper:", "'optunaa'", "did you mean 'optuna'"],
    "dataset=iris": ["dataset:", "did you mean 'data'"],
    "models=mlp": ["models:", "did you mean 'model'"],
    "model=null": ["model:", "mlp", "random_forest"],
    "data=5": ["data:", "digits", "wine"],
    "model={dropout:0.3}": ["model:", "mlp"],
    "model=[mlp,cnn]": ["model:", "mlp"],
    "~model": ["model:", "mlp"],
    "tracking=wandb": ["tracking:", "no option 'wandb'", "mlflow"],
    "tracking.mlflow.uri=http://h:5": ["tracking.mlflow.uri:", "without tracking=mlflow"],
    "model.dropoot=0.3": ["model.dropoot:", "did you mean 'dropout'"],
    "training.epoch=3": ["training.epoch:", "did you mean 'training.epochs'"],
    "trainin.epochs=3": ["trainin.epochs:", "did you mean 'training.epochs'"],
    "training.early_stopping.patiance=3": ["did you mean 'training.early_stopping.patience'"],
    "optimizer.lr=0.1": ["optimizer.lr:", "learning_rate"],
    "search.niter=3": ["search.niter:", "did you mean 'n_iter'"],
    "cv.nsplits=3": ["cv.nsplits:", "did you mean 'n_splits'"],
    "compute.jobs=2": ["compute.jobs:", "did you mean 'compute.n_jobs'"],
    "data.tests_size=0.2": ["data.tests_size:", "test_size"],
    "data.path=x.npz": ["data.path:", "digits", "test_size"],
    "seeed=1": ["seeed:", "did you mean 'seed'"],
    "n_iter=3": ["n_iter:", "search.n_iter"],
    "epochs=3": ["epochs:", "training.epochs"],
    "dropout=0.3": ["dropout:", "model.dropout"],
    "scorng=accuracy": ["scorng:", "did you mean 'scoring'"],
    "foo=bar": ["foo:", "unknown", "seed", "scoring"],
    "foo.bar=3": ["foo.bar:", "unknown", "model", "training"],
    "+model.foo=3": ["model.foo:", "'foo'", "hidden_layer_one", "dropout"],
    "++training.foo=3": ["training.foo:", "unknown", "epochs", "batch_size"],
    "preprocess.nam=none": ["preprocess.nam:", "did you mean 'preprocess.name'"],
    "model=random_forest model.n_estimator=5": ["model.n_estimator:", "'n_estimators'"],
    "search=optuna search.sampler.foo=1": ["search.sampler.foo:", "TPESampler", "n_startup_trials"],
    "hydra.run.dirr=x": ["hydra.run.dirr:", "did you mean 'hydra.run.dir'"],
    "seed=${sed}": ["'sed'", "not found"],
    "model.dropout=${model.dropoot}": ["model.dropout:", "'model.dropoot'", "not found"],
    "model.dropout": ["'model.dropout'", "="],
    "model.dropout:0.3": ["'model.dropout:0.3'", "="],
    "'space.model.dropout=[0.1'": ["space.model.dropout=[0.1"],
    "--config-name=nothere": ["nothere"],
    "--config-dir=nowhere": ["nowhere"],
    "--epochs=3": ["--epochs"],
    "-q training.epochs=0": ["training.epochs:", "0"],
}

TYPES_AND_RANGES = {
    "model.dropout=abc": ["model.dropout:", "number", "'abc'"],
    "model.dropout=": ["model.dropout:", "number", "''"],
    "model.dropout=null": ["model.dropout:", "number", "None"],
    "model.dropout=true": ["model.dropout:", "number", "True"],
    "model.hidden_layer_one=1.5": ["model.hidden_layer_one:", "integer", "1.5"],
    "model.hidden_layer_one=big": ["model.hidden_layer_one:", "integer", "'big'"],
    "training.epochs=three": ["training.epochs:", "integer", "'three'"],
    "training.epochs=1.5": ["training.epochs:", "integer", "1.5"],
    "training.batch_size=null": ["training.batch_size:", "integer", "None"],
    "training.fast=maybe": ["training.fast:", "boolean", "'maybe'"],
    "optimizer.learning_rate=fast": ["optimizer.learning_rate:", "number", "'fast'"],
    "seed=abc": ["seed:", "integer", "'abc'"],
    "search.n_iter=2.5": ["search.n_iter:", "integer", "2.5"],
    "data.limit=few": ["data.limit:", "integer", "'few'"],
    "data.test_size=half": ["data.test_size:", "number", "'half'"],
    "cv.n_splits=three": ["cv.n_splits:", "integer", "'three'"],
    "cv.shuffle=maybe": ["cv", "shuffle", "True or False", "maybe"],
    "compute.n_jobs=two": ["compute.n_jobs:", "auto", "integer", "'two'"],
    "compute.n_jobs=1.5": ["compute.n_jobs:", "auto", "integer", "1.5"],
    "log_level=loud": ["log_level:", "'debug'", "'warning'", "'loud'"],
    "scoring=3": ["scoring:", "string", "list", "3"],
    "model.activation=rleu": ["model.activation:", "'relu'", "'rleu'"],
    "data.task=clasification": ["data.task:", "'classification'", "'clasification'"],
    "training.schedule=cosin": ["training.schedule:", "'cosine'", "'cosin'"],
    "training.class_weight=balance": ["training.class_weight:", "'balanced'", "'balance'"],
    "preprocess.name=standrd": ["preprocess.name:", "'standard'", "'standrd'"],
    "optimizer.name=admm": ["optimizer.name:", "'adam'", "'admm'"],
    "training=5": ["training:", "default", "early_stopping"],
    "search=optuna search.batch_size=x": ["search.batch_size:", "x"],
    "search=optuna search.sampler=tpe": ["search.sampler:", "tpe"],
    "search=optuna search.sampler.multivariate=maybe": ["search.sampler.multivariate:", "maybe"],
    "search=halving search.factor=2.5": ["search.factor:", "2.5"],
    "training.epochs=0": ["training.epochs:", "1", "got 0"],
    "training.epochs=-1": ["training.epochs:", "1", "got -1"],
    "training.batch_size=0": ["training.batch_size:", "1", "got 0"],
    "training.early_stopping.patience=0": ["training.early_stopping.patience:", "1", "got 0"],
    "training.early_stopping.validation_fraction=1": ["validation_fraction:", "got 1"],
    "model.dropout=1.5": ["model.dropout:", "less than 1", "got 1.5"],
    "model.dropout=-0.1": ["model.dropout:", "0", "got -0.1"],
    "model.hidden_layer_one=0": ["model.hidden_layer_one:", "1", "got 0"],
    "model=deep_mlp model.hidden_units=[64,0]": ["model.hidden_units", "1", "got 0"],
    "model=deep_mlp model.hidden_units=[]": ["model.hidden_units: must have at least 1 item"],
    "model=deep_mlp model.hidden_units=64": ["model.hidden_units:", "list", "64"],
    "model=deep_mlp model.hidden_units=[64,a]": ["model.hidden_units", "integer", "'a'"],
    "model=deep_mlp model.l2=-1": ["model.l2:", "0", "got -1"],
    "model=cnn model.kernel_size=0": ["model.kernel_size:", "1", "got 0"],
    "model=random_forest model.n_estimators=0": ["model.n_estimators:", "[1, inf)", "got 0"],
    "model=random_forest model.max_features=sqr": ["model.max_features:", "'sqrt'", "'sqr'"],
    "model=svm model.C=-1": ["model.C:", "(0.0, inf]", "got -1"],
    "model=svm model.kernel=rbff": ["model.kernel:", "'rbf'", "'rbff'"],
    "cv.n_splits=1": ["cv.n_splits:", "at least 2", "got 1"],
    "cv.n_splits=-3": ["cv.n_splits:", "at least 2", "got -3"],
    "cv=repeated cv.n_repeats=0": ["cv.n_repeats:", "at least 1", "got 0"],
    "cv=shuffle cv.test_size=1.5": ["cv.test_size:", "(0, 1)", "got 1.5"],
    "cv=holdout cv.n_splits=0": ["cv.n_splits:", "at least 1", "got 0"],
    "search.n_iter=0": ["search.n_iter:", "1", "got 0"],
    "search.n_iter=-4": ["search.n_iter:", "1", "got -4"],
    "data.test_size=1.2": ["data.test_size:", "less than 1", "got 1.2"],
    "data.test_size=0": ["data.test_size:", "greater than 0", "got 0"],
    "data.limit=0": ["data.limit:", "1", "got 0"],
    "data.limit=5": ["data.limit:", "5", "at least 20", "10 classes"],
    "seed=-1": ["seed:", "0", "got -1"],
    "seed=99999999999": ["seed:", "4294967296", "got 99999999999"],
    "optimizer.learning_rate=0": ["optimizer.learning_rate:", "greater than 0", "got 0"],
    "optimizer.learning_rate=nan": ["optimizer.learning_rate:", "finite", "nan"],
    "optimizer.weight_decay=-1": ["optimizer.weight_decay:", "0", "got -1"],
    "optimizer=sgd optimizer.momentum=1.5": ["optimizer.momentum:", "less than 1", "got 1.5"],
    "search=halving search.factor=1": ["search.factor:", "2", "got 1"],
    "search=halving search.factor=0": ["search.factor:", "2", "got 0"],
    "search=halving search.min_resource=0": ["search.min_resource:", "1", "got 0"],
    "search=halving search.min_resource=100": ["search.min_resource:", "20", "got 100"],
    "search=halving search.resource=training.epoch": ["search.resource:", "training.epochs"],
    "search=halving model=random_forest": ["search.resource:", "model.n_estimators"],
    "search=optuna search.batch_size=0": ["search.batch_size:", "1", "got 0"],
    "compute.n_jobs=0": ["compute.n_jobs:", "'auto'", "positive", "-1", "got 0"],
    "compute.threads=0": ["compute.threads:", "1", "got 0"],
    "optimizer.momentum=0.9": ["optimizer.momentum:", "adam", "sgd", "rmsprop"],
    "optimizer.nesterov=true": ["optimizer.nesterov:", "adam", "sgd"],
    "optimizer=sgd optimizer.beta_1=0.9": ["optimizer.beta_1:", "sgd", "adam"],
    "experiment=quick_start model.dropout=2": ["model.dropout:", "less than 1", "got 2"],
    # A list, a range or a sweep for a single value: say where it belongs.
    "model.dropout=[0.1,0.2]": ["model.dropout:", "[0.1, 0.2]", "space.model.dropout"],
    "training.epochs=[10,20]": ["training.epochs:", "[10, 20]", "space.training.epochs"],
    "optimizer.name=[adam,sgd]": ["optimizer.name:", "space.optimizer.name"],
    "model=random_forest model.n_estimators=[9,8]": ["model.n_estimators:", "int", "[9, 8]"],
    "cv.n_splits=[2,3]": ["cv.n_splits:", "integer", "[2, 3]"],
    "training.epochs={low:1,high:3}": ["training.epochs:", "integer", "low"],
    "model.dropout=0.1,0.2": ["model.dropout:", "-m", "space.model.dropout=["],
    "model=mlp,cnn": ["model:", "-m"],
    "'optimizer.learning_rate=interval(1e-4,1e-2)'": [
        *("optimizer.learning_rate:", "-m", "space.optimizer.learning_rate={low:"),
    ],
    "'model.hidden_layer_one=range(1,5)'": ["model.hidden_layer_one:", "-m", "space."],
    "'space.model.dropout=interval(0.1,0.5)'": [
        *("space.model.dropout:", "'space.model.dropout=\"interval(0.1,0.5)\"'"),
    ],
    "'space.model.dropout=tag(log,interval(0.1,0.5))'": [
        "'space.model.dropout=\"tag(log,interval(0.1,0.5))\"'"
    ],
    "space.model.dropout=0.1,0.2": ["space.model.dropout:", "list"],
}

SPACES_AND_SCORERS = {
    "space.model.dropoot=[0.1,0.2]": ["space.model.dropoot:", "'model.dropout'"],
    "space.dropout=[0.1,0.2]": ["space.dropout:", "'model.dropout'"],
    "space.optimizer.lr=[0.1,0.2]": ["space.optimizer.lr:", "optimizer."],
    "space.seed=[1,2]": ["space.seed:", "model.dropout"],
    "search=none space.model.dropoot=[1,2]": ["space.model.dropoot:", "'model.dropout'"],
    "model=random_forest space=mlp": ["space.model.hidden_layer_one:", "random_forest"],
    "model=svm space.training.epochs=[1,2]": ["space.training.epochs:", "svm", "model.C"],
    "space.optimizer.momentum={low:0.1,high:0.9}": ["space.optimizer.momentum:", "adam"],
    "space.model.dropout=[]": ["space.model.dropout:", "empty list"],
    "space.model.dropout={values:[]}": ["space.model.dropout:", "empty list"],
    "space.model.dropout={low:0.5,high:0.1}": ["space.model.dropout:", "low=0.5", "high=0.1"],
    "space.model.dropout={low:0.3,high:0.3}": ["space.model.dropout:", "low=0.3", "high=0.3"],
    "'space.model.dropout=\"interval(0.5,0.1)\"'": ["space.model.dropout:", "low=0.5"],
    "space.model.dropout={low:0,high:0.1,log:true}": ["space.model.dropout:", "above 0", "low=0"],
    "space.model.dropout={low:-1,high:0.1,log:true}": ["space.model.dropout:", "above 0", "low=-1"],
    "'space.model.dropout=\"tag(log,interval(0,0.1))\"'": ["space.model.dropout:", "above 0"],
    "space.model.dropout={low:0.1}": ["space.model.dropout", "high"],
    "space.model.dropout={min:0.1,max:0.3}": ["space.model.dropout", "min", "low", "high"],
    "space.model.dropout={lo:0.1,high:0.3}": ["space.model.dropout.lo:", "did you mean 'low'"],
    "space.model.dropout={low:a,high:0.3}": ["space.model.dropout.low:", "number", "'a'"],
    "space.model.dropout={low:0.1,high:0.3,log:maybe}": ["dropout.log:", "true or false"],
    "space.model.dropout={low:0.1,high:0.3,step:0}": ["space.model.dropout.step:", "got 0"],
    "space.model.dropout={low:0.1,high:0.3,step:5}": ["space.model.dropout.step:", "got 5"],
    "space.model.dropout={low:0.1,high:1.5}": ["space.model.dropout:", "less than 1", "1.5"],
    "space.model.dropout=[0.1,1.5]": ["space.model.dropout:", "less than 1", "1.5"],
    "space.model.dropout=[0.1,x]": ["space.model.dropout:", "number", "'x'"],
    "space.model.dropout=0.3": ["space.model.dropout:", "0.3", "model.dropout=0.3", "list"],
    "space.model.hidden_layer_one=[0,64]": ["space.model.hidden_layer_one:", "1", "got 0"],
    "space.model.hidden_layer_one={low:1.0,high:9.0}": ["hidden_layer_one:", "integer", "1.0"],
    "space.training.epochs=[-1]": ["space.training.epochs:", "1", "got -1"],
    "space.optimizer.learning_rate=[0]": ["space.optimizer.learning_rate:", "got 0"],
    "space.optimizer.name=[adam,sdg]": ["space.optimizer.name:", "'sgd'", "'sdg'"],
    "model=svm space.model.kernel=[rfb]": ["space.model.kernel:", "'rbf'", "'rfb'"],
    "model=svm space.model.C={low:-1,high:3}": ["space.model.C:", "(0.0, inf]", "got -1"],
    "model=random_forest space.model.max_depth=[0]": ["space.model.max_depth:", "got 0"],
    "space={model:{dropout:[0.1]}}": ["space:", "mlp", "none"],
    "space=none": ["space:", "nothing to search", "space=mlp", "search=none"],
    "space=none search=optuna": ["space:", "nothing to search"],
    "search=grid": ["space.model.dropout:", "continuous", "list", "step"],
    # Conditions.
    "space.optimizer.momentum={low:0.1,high:0.9,when:{optimizer.nam:sgd}}": [
        *("space.optimizer.momentum.when:", "'optimizer.nam'", "'optimizer.name'"),
    ],
    "space.optimizer.momentum={low:0.1,high:0.9,when:sgd}": [
        *("space.optimizer.momentum.when:", "mapping", "'sgd'"),
    ],
    "space.model.dropout={values:[0.1],when:{optimizer.learning_rate:0.001}}": [
        *("space.model.dropout.when:", "'optimizer.learning_rate'", "choice"),
    ],
    "space.model.activation=[relu] space.model.dropout={values:[0],when:{model.activation:rleu}}": [
        *("space.model.dropout.when", "rleu", "relu"),
    ],
    "space=mlp_wide space.optimizer.momentum={low:0.1,high:0.9,when:{optimizer.name:sdg}}": [
        *("space.optimizer.momentum.when", "sdg", "sgd"),
    ],
    "space.model.dropout={values:[0.1,0.2],when:{model.dropout:0.1}}": [
        *("space.model.dropout.when", "circle"),
    ],
    **{
        f"search={search} space.model.dropout={{values:[0.1,0.2],when:{{model.activation:relu}}}} "
        "space.model.activation={values:[relu,tanh],when:{model.dropout:0.1}}": [
            *("space.model.", "when", "model.dropout", "model.activation"),
        ]
        for search in ("random", "optuna")
    },
    # Scorers.
    "scoring=acuracy": ["scoring:", "'acuracy'", "did you mean 'accuracy'"],
    "scoring=[accuracy,f1_macroo]": ["scoring:", "'f1_macroo'", "did you mean 'f1_macro'"],
    "data=diabetes scoring=mse": ["scoring:", "'mse'", "neg_mean_squared_error"],
    "scoring=[]": ["scoring:", "empty list"],
    "scoring=[accuracy,accuracy]": ["scoring:", "twice", "accuracy"],
    "scoring=null": ["scoring:", "None"],
    "scoring=accuracy refit=f1_macro": ["refit:", "'f1_macro'", "accuracy"],
    "scoring=[accuracy,f1_macro] refit=f1": ["refit:", "'f1'", "f1_macro"],
    "scoring=r2": ["scoring:", "'r2'", "regression", "classification", "accuracy"],
    "scoring=adjusted_rand_score": ["scoring:", "clustering", "accuracy"],
    "scoring=roc_auc": ["scoring:", "'roc_auc'", "roc_auc_ovr"],
    "scoring=f1": ["scoring:", "'f1'", "multiclass", "f1_macro"],
    "data=diabetes scoring=accuracy": ["scoring:", "'accuracy'", "regression", "r2"],
    "data=diabetes scoring=[r2,neg_log_loss]": ["scoring:", "'neg_log_loss'", "r2"],
    "model=svm scoring=roc_auc_ovr": ["scoring:", "'roc_auc_ovr'", "probabilities"],
    "model=svm scoring=neg_log_loss": ["scoring:", "'neg_log_loss'", "probabilities"],
    "data=diabetes model=logistic_regression": ["model:", "classifier", "regression"],
}

WELLS = "data=table data.path=wells.csv data.target"
DATA = {
    "data=table": ["data.path:", "required"],
    "data=table data.path=wells.csv": ["data.target:", "required"],
    "data=table data.path=wels.csv data.target=good": [
        *("data.path:", "'wels.csv'", "did you mean 'wells.csv'"),
    ],
    "data=table data.path=nowhere/x.csv data.target=good": ["data.path:", "nowhere"],
    "data=table data.path=folder data.target=good": ["data.path:", "folder"],
    "data=npz data.path=missing.npz": ["data.path:", "'missing.npz'"],
    "data=mnist data.path=missing.npz": ["data.path:", "'missing.npz'"],
    f"{WELLS}=goood": ["data.target:", "'goood'", "did you mean 'good'"],
    f"{WELLS}=5": ["data.target:", "string", "5"],
    f"{WELLS}=constant": ["data.target:", "same value", "60 rows"],
    f"{WELLS}=holes": ["data.target:", "2 of 60 rows", "'holes'"],
    f"{WELLS}=single": ["data.target:", "'maybe'", "at least 2"],
    f"{WELLS}=rare": ["cv.n_splits:", "class 'y'", "2 training rows", "3 folds"],
    f"{WELLS}=good cv.n_splits=100": ["cv.n_splits:", "24 training rows", "100 folds"],
    f"{WELLS}=good cv=kfold cv.n_splits=100": ["cv", "100", "48"],
    f"{WELLS}=good data.task=regression": ["data.task:", "'yes'", "classification"],
    f"{WELLS}=flow data.task=classification": ["data.task:", "fractions", "regression"],
    f"{WELLS}=flow model=logistic_regression": ["model:", "classifier", "regression"],
    f"{WELLS}=good model=cnn": ["model:", "'cnn'", "images", "(9,)"],
    f"{WELLS}=good cv=group": ["data.group:", "cv=group"],
    f"{WELLS}=good cv=group data.group=wel": ["data.group:", "'wel'", "did you mean 'well'"],
    f"{WELLS}=good cv=group data.group=one_well": ["data.group:", "'one_well'", "2"],
    f"{WELLS}=good cv=group data.group=well cv.n_splits=6": ["cv", "6", "4"],
    f"{WELLS}=good cv=timeseries data.time=rock": ["data.time:", "'rock'", "dates"],
    f"{WELLS}=good data.time=depth data.group=well": ["data.time:", "data.group"],
    f"{WELLS}=good data.test_size=0.99": ["data.test_size:", "0.99", "60"],
    "data=table data.path=picture.csv data.target=good": ["data.path:", "'picture.csv'", "PNG"],
    "data=table data.path=words.parquet data.target=good": ["data.path:", ".parquet", "text"],
    "data=table data.path=empty.csv data.target=good": ["data.path:", "'empty.csv'", "empty"],
    "data=table data.path=header.csv data.target=a": ["data.path:", "no rows"],
    "data=table data.path=ragged.csv data.target=a": ["data.path:", "line 3", "3 fields"],
    "data=table data.path=semicolons.csv data.target=a": ["data.path:", "commas", "';'"],
    "data=table data.path=latin.csv data.target=b": ["data.path:", "UTF-8", "0xe9"],
    "data=table data.path=sheet.xlsx data.target=a": ["data.path:", ".xlsx", ".csv", ".parquet"],
    "data=npz data.path=wells.csv": ["data.path:", ".csv", ".npz"],
    "data=npz data.path=words.npz": ["data.path:", "'words.npz'", ".npz"],
    "data=npz data.path=cut.npz": ["data.path:", "'cut.npz'"],
    "data=npz data.path=keys.npz": ["data.path:", "a, b", "X, y"],
    "data=npz data.path=lengths.npz": ["data.target:", "30", "10"],
    "data=npz data.path=nan_y.npz": ["data.target:", "2 of 30 rows", "NaN"],
    "data=npz data.path=objects.npz": ["data.path:", "'X'", "Python objects"],
    "data=npz data.path=rows.npz model=cnn": ["model:", "'cnn'", "images", "(4,)"],
    "data=npz data.path=rows.npz data.group=well": ["data.group:", "'well'"],
    "data=mnist data.path=rows.npz": ["data.path:", "X, y", "x_train"],
    "data=california_housing data.path=wells.csv": ["data.target:", "'MedHouseVal'"],
    "data=wine model=cnn": ["model:", "'cnn'", "images", "(13,)"],
    "data=iris cv=group": ["data.group:", "cv=group"],
    "data=iris data.task=regression": ["data.task:", "'setosa'", "classification"],
    "data.limit=20 cv.n_splits=5": ["cv.n_splits:", "2 training rows", "5 folds"],
    "data=openml data.data_id=5": ["data.dataset:", "data.data_id", "5"],
    # Output folders.
    "hydra.run.dir=/proc/x": ["hydra.run.dir:", "/proc", "write"],
    "hydra.run.dir=folder": ["hydra.run.dir:", "'folder'", "not empty"],
    "hydra.run.dir=wells.csv": ["hydra.run.dir:", "wells.csv"],
    "hydra.run.dir=wells.csv/run": ["hydra.run.dir:", "wells.csv"],
}

TRUST = {
    f"{path}._target_={target}": [f"{path.split()[-1].lstrip('+')}._target_:", target, says]
    for path, target, says in [
        ("data", "os.system", "RUNNER_ALLOW"),
        ("model", "subprocess.Popen", "RUNNER_ALLOW"),
        ("model", "builtins.eval", "RUNNER_ALLOW"),
        ("model", "joblib.load", "RUNNER_ALLOW"),
        ("model", "my_models.network", 'RUNNER_ALLOW="my_models.*"'),
        ("model", "my_models.network", 'allow = ["my_models.*"]'),
        ("model", "sklearn.datasets._base.os.system", "not allowed"),
        ("model", "sklearn.ensemble._forest.threading.Thread", "through a module"),
        ("model", "sklearn.utils._joblib.joblib.load", "not allowed"),
        ("data", "runner.data.load.pd.read_pickle", "through a module"),
        ("data", "runner.app.os.system", "not allowed"),
        ("cv", "os.system", "not allowed"),
        ("search", "os.system", "not allowed"),
        ("search=optuna search.sampler", "os.system", "not allowed"),
        ("search=optuna +search.pruner", "os.system", "not allowed"),
        ("+model.callback", "os.system", "not allowed"),
        ("+model.deep.er.callback", "os.system", "not allowed"),
        ("cv", "sklearn.model_selection.StratifiedKFol", "did you mean 'StratifiedKFold'"),
        ("search", "sklearn.model_selection.GridSearch", "did you mean 'GridSearchCV'"),
        ("model=svm model", "sklearn.svm.SVCC", "did you mean 'SVC'"),
        ("model", "runner.models.networks.mlpp", "did you mean 'mlp'"),
        ("search", "sklearn.model_selection.KFold", "search"),
        ("model", "5", "name"),
    ]
} | {
    "cv._target_=sklearn.svm.SVC": ["cv._target_:", "SVC", "splitter"],
    "search._target_=sklearn.svm.SVC": ["search._target_:", "SVC", "param_grid"],
    "++model.activation={_target_:os.system,command:ls}": ["model.activation._target_:", "allowed"],
    "++model.activation=[{_target_:os.system}]": ["model.activation[0]._target_:", "allowed"],
    "model=random_forest ++model.criterion={_target_:os.system}": ["model.criterion._target_:"],
    "data=table data.path={_target_:os.system} data.target=a": ["data.path._target_:", "allowed"],
    "model=svm ~model.C ~model.kernel ~model.gamma model._target_=sklearn.impute.KNNImputer": [
        *("model", "KNNImputer", "classifier"),
    ],
}

TABLES = {
    "groups-and-keys": GROUPS_AND_KEYS,
    "types-and-ranges": TYPES_AND_RANGES,
    "spaces-and-scorers": SPACES_AND_SCORERS,
    "data": DATA,
    "trust": TRUST,
}
MORE = "-more"
# `make test` tries every other line of a table, `make test-slow` the rest.
PARTS = {
    f"{name}{rest}": list(table)[start::2]
    for name, table in TABLES.items()
    for start, rest in enumerate(("", MORE))
}
# What looks like a mistake and is none.
FINE = [
    "search=none",
    "search=none space=none",
    "search=none space.model.dropout=[0.1,0.2]",
    "space.model.dropout=null",
    "'space.model.dropout=\"interval(0.1,0.5)\"'",
    "'space.optimizer.learning_rate=\"tag(log,interval(1e-4,1e-2))\"'",
    "space.optimizer.learning_rate={low:1e-4,high:1e-2,log:true}",
    "space=mlp_wide optimizer.momentum=0.9",
    "search=grid space=none space.model.dropout={low:0.1,high:0.5,step:0.1}",
    "data=iris model=svm scoring=f1_macro",
    f"{WELLS}=good cv=group data.group=well",
    f"{WELLS}=rare model=random_forest cv.n_splits=2",
]


def _write_files(folder: Path) -> None:
    random = np.random.default_rng(0)
    n = 60
    wells = pd.DataFrame(
        {
            "depth": random.random(n),
            "rock": np.resize(["sand", "clay", "lime"], n),
            "good": np.resize(["yes", "no"], n),
            "flow": random.random(n) * 10,
            "constant": 1,
            "well": np.resize(list("abcdef"), n),
            "one_well": "a",
            "rare": np.where(np.arange(n) < 3, "y", "x"),
        }
    )
    wells["single"] = np.where(np.arange(n) == 3, "maybe", wells.good)
    wells["holes"] = np.where(np.isin(np.arange(n), [2, 5]), np.nan, wells.flow)
    wells.to_csv(folder / "wells.csv", index=False)
    texts = {
        "words.parquet": "depth,good\n1,2\n",
        "words.npz": "depth,good\n1,2\n",
        "empty.csv": "",
        "header.csv": "a,b\n",
        "ragged.csv": "a,b\n1,2\n1,2,3\n",
        "semicolons.csv": "a;b\n1;2\n3;4\n",
        "folder/file": "x",
    }
    (folder / "folder").mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "picture.csv").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")
    (folder / "sheet.xlsx").write_bytes(b"PK\x03\x04")
    (folder / "latin.csv").write_bytes("a,b\ncaf\xe9,1\nx,2\n".encode("latin-1"))
    X, y = random.random((30, 4)), np.resize([0.0, 1.0], 30)
    np.savez(folder / "rows", X=X, y=y)
    np.savez(folder / "keys", a=X, b=y)
    np.savez(folder / "lengths", X=X, y=y[:10])
    np.savez(folder / "nan_y", X=X, y=np.where(np.arange(30) < 2, np.nan, y))
    np.savez(folder / "objects", X=X.astype(object), y=y)
    whole = (folder / "rows.npz").read_bytes()
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2])


Attempts = Callable[[str], dict[str, Attempt]]


@pytest.fixture(scope="session")
def attempts(once: Once) -> Attempts:
    """What happened to every command line of a table, each table being run once."""

    def run_table(folder: Path) -> None:
        lines = FINE if folder.name == "fine" else PARTS[folder.name]
        work = folder / "work"
        work.mkdir()
        _write_files(work)
        answers = attempt_all({line: shlex.split(line) for line in lines}, work)
        (folder / "answers.json").write_text(
            json.dumps({line: asdict(answer) for line, answer in answers.items()})
        )

    def _attempts(name: str) -> dict[str, Attempt]:
        answers = json.loads((once(name, run_table) / "answers.json").read_text())
        return {line: Attempt(**answer) for line, answer in answers.items()}

    return _attempts


def _assert_one_line(line: str, err: str, says: list[str]) -> None:
    assert len(err.splitlines()) == 1, f"{line}\n{err}"
    assert err.startswith("runner: ")
    missing = [text for text in says if text not in err]
    assert not missing, f"{err.strip()}\nlacks {missing}"


@pytest.mark.parametrize(
    ("part", "line"),
    [
        pytest.param(part, line, marks=[pytest.mark.slow] if part.endswith(MORE) else [])
        for part, lines in PARTS.items()
        for line in lines
    ],
)
def test_mistake_gets_one_clear_line(part: str, line: str, attempts: Attempts) -> None:
    attempt = attempts(part)[line]
    assert attempt.code == 2, f"{attempt.code}\n{attempt.err}"
    _assert_one_line(line, attempt.err, TABLES[part.removesuffix(MORE)][line])
    assert attempt.out == ""
    assert not attempt.imported
    assert not attempt.left_behind
    # Nothing to trip over: no dangling lists, no doubled punctuation, no Python internals.
    assert not attempt.err.rstrip().endswith((":", ";", ","))
    assert ".;" not in attempt.err
    assert "_dummy" not in attempt.err


@pytest.mark.parametrize("line", FINE)
def test_what_is_no_mistake_is_accepted(line: str, attempts: Attempts) -> None:
    attempt = attempts("fine")[line]
    assert attempt.code == ACCEPTED, attempt.err
    assert not attempt.imported


# The same, as commands of their own ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (line, table[line])
        for table, line in [
            (GROUPS_AND_KEYS, "model=mpl"),
            (TYPES_AND_RANGES, "training.epochs=0"),
            (DATA, "hydra.run.dir=/proc/x"),
            (TRUST, "data._target_=os.system"),
        ]
    ],
)
def test_command_refuses_a_mistake(line: str, says: list[str], folder: Path) -> None:
    done = run_command(*shlex.split(line), cwd=folder)
    assert done.code == 2
    assert done.out == ""
    _assert_one_line(line, done.err, says)
    assert done.imported == ()
    assert not list(folder.iterdir())


def test_command_refuses_a_mistake_in_a_table_with_columns_left_out(folder: Path) -> None:
    dates = pd.date_range("2024-01-01", periods=40).astype(str)
    pd.DataFrame({"day": dates, "depth": range(40), "good": ["y", "n"] * 20}).to_csv(
        folder / "wells.csv", index=False
    )
    args = ["data=table", "data.path=wells.csv", "data.target=good", "scoring=r2"]
    done = run_command(*args, cwd=folder)
    assert done.code == 2
    _assert_one_line("scoring=r2", done.err, ["scoring:", "'r2'"])


@pytest.mark.parametrize("args", [["--help"], ["--cfg", "job"], ["data=iris", "--cfg", "job"]])
def test_help_needs_no_tensorflow(args: list[str], folder: Path) -> None:
    done = run_command(*args, cwd=folder)
    assert done.code == 0, done.err
    assert done.out
    assert done.imported == ()
    assert not list(folder.iterdir())


# What only training can show ----------------------------------------------------------------------

DIVERGES = [
    *("data=iris", "optimizer=sgd", "training.epochs=2", "cv.n_splits=2"),
    *("compute.n_jobs=1", "plots=false"),
]


def test_run_whose_every_fit_fails_ends_with_1_and_says_why(folder: Path) -> None:
    request = (*DIVERGES, "optimizer.learning_rate=1e30", "search=none")
    done = run_command(*request, cwd=folder, warm=False)
    assert done.code == 1, done.err
    # Nor does TensorFlow say anything as it starts.
    assert not re.search(r"^[WEI]\d{4} |absl|cuda|oneDNN", done.err, re.MULTILINE), done.err
    assert "Traceback" not in done.err
    last = done.err.splitlines()[-1]
    assert "every fit failed" in last
    assert "loss" in last.lower()
    assert done.result["status"] == "failed"
    assert "loss" in done.result["error"]["message"].lower()
    assert done.result["best"] is None
    assert "tensorflow" in done.imported  # the watch on imports does see it


def test_fit_that_diverges_fails_its_candidate_only(folder: Path) -> None:
    rates = ["space=none", "space.optimizer.learning_rate=[0.01,1e30]", "search=grid"]
    done = run_command(*DIVERGES, *rates, cwd=folder)
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    assert done.result["status"] == "completed"
    assert done.result["trials"]["n_candidates"] == 2
    assert done.result["trials"]["n_failed"] == 2
    statuses = pd.read_csv(done.directory / "trials.csv").set_index("optimizer.learning_rate")
    assert statuses["status"].to_dict() == {0.01: "completed", 1e30: "failed"}
    assert any("failed" in line and "loss" in line.lower() for line in done.err.splitlines())


@pytest.mark.slow
def test_failed_run_without_a_network(folder: Path) -> None:
    wells = pd.DataFrame({"depth": [1.0, None, 3.0, 4.0] * 10, "good": ["y", "n"] * 20})
    wells.to_csv(folder / "wells.csv", index=False)
    args = ["data=table", "data.path=wells.csv", "data.target=good", "model=svm"]
    done = run_command(*args, "preprocess=none", "search=none", cwd=folder)
    assert done.code in (1, 2), done.err
    assert "Traceback" not in done.err
    assert "NaN" in done.err.splitlines()[-1]
