/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/config/presets.h"

const struct config_preset config_presets[CONFIG_PRESETS] = {
	{ "python",
	  ".venv/bin",
	  {
		  "PYTHONUNBUFFERED=1",        /* output comes when it is written */
		  "PYTHONDONTWRITEBYTECODE=1", /* no __pycache__ among the files of the work */
		  "MPLBACKEND=Agg",            /* plots are files: there is no display */
	  } },
	{ "node", "node_modules/.bin", { NULL } },
};
