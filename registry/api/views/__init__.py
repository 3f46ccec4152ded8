"""One file per noun. A view reads through `access.visible`, writes through a service, and holds no logic."""
