"""From a config to a scikit-learn estimator whose hyper-parameters are the config's leaves."""
