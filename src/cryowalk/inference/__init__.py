"""How well images agree with a model: noise models, likelihoods and Wiener filters live here."""
