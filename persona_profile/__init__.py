"""The service behind the profile cards of a federated sign-in dialog."""

import warnings

# Pyramid 2.1 and Cornice 6.1 import pkg_resources; operators can't change that.
warnings.filterwarnings("ignore", "pkg_resources is deprecated", UserWarning)
