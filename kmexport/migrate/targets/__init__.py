"""The products that an export can move to: one module for each, with its limits and the form of its lines."""
