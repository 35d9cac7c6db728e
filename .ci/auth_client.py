"""MLflow's own AuthServiceClient against a tracking server with users: python auth_client.py TRACKING_SERVER

Needs the whole `mlflow` package, whose client of users imports its server; without it it says so and ends well.
"""

import os
import subprocess
import sys
import tempfile

try:
    import mlflow
    from mlflow.exceptions import MlflowException, RestException
    from mlflow.server.auth.client import AuthServiceClient
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(0)

PASSWORD = "correct horse battery"


def as_user(name, password=PASSWORD):
    os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"] = name, password


def refused(call, *codes):
    try:
        call()
    except (RestException, MlflowException) as error:
        assert error.error_code in codes, (error.error_code, codes)
        return
    raise AssertionError("was not refused")


def main(url, folder):
    as_user("admin")
    auth, client = AuthServiceClient(url), mlflow.MlflowClient(url)
    ann = auth.create_user("ann", PASSWORD)
    auth.create_user("bob", PASSWORD)
    assert (ann.username, ann.is_admin) == ("ann", False)
    refused(lambda: auth.create_user("ann", PASSWORD), "RESOURCE_ALREADY_EXISTS")
    auth.update_user_admin("bob", True)
    assert auth.get_user("bob").is_admin
    auth.update_user_admin("bob", False)

    as_user("ann", "wrong horse battery")
    refused(lambda: client.search_experiments(), "UNAUTHENTICATED")
    as_user("ann")
    experiment = client.create_experiment("anns")
    run = client.create_run(experiment).info.run_id
    client.log_metric(run, "m", 1.0)
    client.log_text(run, "text", "dir/file.txt")
    client.create_registered_model("model")
    version = client.create_model_version("model", f"runs:/{run}/dir", run)
    client.set_registered_model_alias("model", "champion", version.version)
    assert auth.get_user_permission("ann", "experiment", experiment).permission == "MANAGE"

    as_user("bob")
    assert client.get_run(run).data.metrics == {"m": 1.0}, "everybody reads by default"
    refused(lambda: client.log_metric(run, "m", 2.0), "PERMISSION_DENIED")
    refused(lambda: client.set_registered_model_alias("model", "champion", "1"), "PERMISSION_DENIED")
    refused(lambda: auth.grant_user_permission("bob", "experiment", experiment, "EDIT"), "PERMISSION_DENIED")
    as_user("ann")
    auth.grant_user_permission("bob", "experiment", experiment, "EDIT")
    as_user("bob")
    client.log_metric(run, "m", 2.0)
    refused(lambda: client.delete_run(run), "PERMISSION_DENIED")
    as_user("ann")
    auth.grant_user_permission("bob", "experiment", experiment, "DENY")
    as_user("bob")
    refused(lambda: client.get_run(run), "PERMISSION_DENIED")
    refused(lambda: client.list_artifacts(run), "PERMISSION_DENIED")
    assert "anns" not in [found.name for found in client.search_experiments()]
    as_user("ann")
    auth.revoke_user_permission("bob", "experiment", experiment)

    as_user("admin")
    role = auth.create_role("default", "team", "the team")
    grant = auth.add_role_permission(role.id, "experiment", "*", "EDIT")
    auth.assign_role("bob", role.id)
    assert [found.name for found in auth.list_roles("default")] == ["team"]
    assert auth.get_role(role.id).permissions[0].permission == "EDIT"
    assert auth.update_role(role.id, description="all").description == "all"
    assert len(auth.list_role_users(role.id)) == 1
    assert "team" in [found.name for found in auth.list_user_roles("bob")]
    as_user("bob")
    client.log_metric(run, "m", 3.0)
    as_user("admin")
    assert auth.update_role_permission(grant.id, "READ").permission == "READ"
    auth.remove_role_permission(grant.id)
    assert auth.list_role_permissions(role.id) == []
    auth.unassign_role("bob", role.id)
    auth.delete_role(role.id)
    as_user("bob")
    auth.update_user_password("bob", "another battery", PASSWORD)
    refused(lambda: client.search_experiments(), "UNAUTHENTICATED")
    as_user("bob", "another battery")
    client.search_experiments()
    as_user("admin")
    auth.delete_user("bob")
    refused(lambda: auth.get_user("bob"), "RESOURCE_DOES_NOT_EXIST")
    print("users, roles and permissions agree with MLflow's client")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_AUTH_ADMIN_PASSWORD"] = PASSWORD
        command = [sys.argv[1], "--home", f"{folder}/home", "--port", "0", "--admin", "admin"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            main(server.stdout.readline().strip(), folder)
        finally:
            server.terminate()
            server.wait()
