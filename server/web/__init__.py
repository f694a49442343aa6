"""The review page: what people see and do, as HTML. Works without JavaScript; with it, single parts are swapped."""
