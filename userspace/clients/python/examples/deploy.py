# SPDX-License-Identifier: Apache-2.0
"""A deploy with credentials: the build, which runs what others wrote, gets none; the upload alone does, apart from all else.
usage: DEPLOY_TOKEN=... python3 deploy.py [--unshielded]"""

import os
import sys

from moat_client import Moat, quote

# In the place of `aws s3 cp` or `git push`: what says whether it has a file and a token.
UPLOAD = 'test -n "$DEPLOY_TOKEN" && echo "uploaded $(wc -c <"$1") bytes"'


def deploy(context, token, allow_unshielded):
    directory = context.exec("mktemp -d").stdout.strip()
    try:
        build = context.exec(f"cd {quote(directory)} && echo '<h1>hello</h1>' > index.html && tar czf site.tgz index.html && env")
        if not build.ok:
            raise SystemExit(f"the build failed: {build.stderr}")
        print(f"the build knows the token: {token in build.stdout}")
        upload = context.exec_secure(["sh", "-c", UPLOAD, "upload", f"{directory}/site.tgz"], env={"DEPLOY_TOKEN": token}, timeout=60,
                                     allow_unshielded=allow_unshielded)
        if not upload.ok:
            raise SystemExit(f"the upload failed with status {upload.exit_code}: {upload.stderr}")
        print(upload.stdout.strip())
        print(f"a later command knows the token: {token in context.exec('env').stdout}")
    finally:
        context.exec(["rm", "-rf", directory])


def main():
    moat, allow_unshielded = Moat(), "--unshielded" in sys.argv
    # Whether a secret is shielded is the kernel's doing; who goes on without has to say so.
    available, reason = moat.secure_execution()
    if not available and not allow_unshielded:
        raise SystemExit(f"not deployed: the token would not be shielded: {reason}")
    context = moat.create_context(f"deploy-{os.getpid()}", directory="/tmp")
    try:
        deploy(context, os.environ["DEPLOY_TOKEN"], allow_unshielded)
    finally:
        context.remove()


main()
