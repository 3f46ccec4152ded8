"""The pages: each view reads through selectors, writes through services, and renders one template."""
