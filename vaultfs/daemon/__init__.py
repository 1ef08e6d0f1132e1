"""Starts and joins the parts of one mount; control socket; status."""
