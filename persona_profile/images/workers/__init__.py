"""Workers: confined processes that decode hostile files, and the service's side of them."""
