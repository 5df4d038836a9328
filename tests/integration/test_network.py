"""What stands between a worker and a provider: proxies by the usual variables, and base URLs of gateways."""

from probing import failures, figures, ledger, start, wait_end

pytest_plugins = ["probe_fixtures"]


def test_the_usual_proxy_variable_is_obeyed(make_proctor, simulator):
    # The simulator serves a proxy's requests too: they name the whole address, and no name is ever looked up.
    ini = {"provider:openai": {"base_url": "http://api.provider.invalid/openai"}}
    with make_proctor(ini, environment={"http_proxy": simulator.url}) as daemon:
        run = start(daemon, 2, followups=1)
        assert wait_end(daemon, run)["status"] == "COMPLETED", failures(daemon, run)
        assert figures(simulator)["bought"] == 4


def test_no_proxy_excepts_what_it_names(make_proctor, simulator):
    with make_proctor(environment={"http_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"}) as daemon:
        run = start(daemon, 1)
        assert wait_end(daemon, run)["status"] == "COMPLETED", failures(daemon, run)


def test_a_proxy_that_is_away_is_a_network_error_that_hides_its_password(make_proctor, simulator):
    proxy = "http://someone:pw-Frotz-19@127.0.0.1:9"
    with make_proctor({"retry": {"max_tries": 1}}, environment={"http_proxy": proxy}) as daemon:
        run = start(daemon, 1)
        assert wait_end(daemon, run)["status"] == "FAILED"
        error, = failures(daemon, run)
        assert error["code"] == "NETWORK_ERROR" and "127.0.0.1" in error["message"]
        assert "Frotz" not in str(error) + daemon.log(10_000)
        assert ledger(simulator) == []


def test_a_page_of_a_gateway_in_place_of_an_answer_is_no_success(make_proctor, simulator):
    with make_proctor({"provider:openai": {"base_url": f"{simulator.url}/nowhere"}}) as daemon:
        run = start(daemon, 1)
        assert wait_end(daemon, run)["status"] == "FAILED"
        assert [error["code"] for error in failures(daemon, run)] == ["NOT_FOUND"]
