//! The promise: the stock `docker` client works, unchanged, with one body of expectations for both
//! isolation modes.

mod attach;
mod bridges;
mod build;
mod churn;
mod client;
mod commands;
mod compare;
mod compose;
mod connections;
mod crash;
mod daemon;
mod dash;
mod demo;
mod devices;
mod docs;
mod egress;
mod errors;
mod exec;
mod files;
mod health;
mod hostile_images;
mod hull;
mod hull_build;
mod images;
mod init;
mod ipv6;
mod known;
mod lifecycle;
mod limits;
mod logging;
mod machines;
mod macvlan;
mod marks;
mod matrix;
mod mistakes;
mod mounts;
mod namespaces;
mod network;
mod networks;
mod openings;
mod package;
mod pages;
mod parts;
mod pauses;
mod piercings;
mod pods;
mod policy;
mod ports;
mod pulls;
mod quotas;
mod rates;
mod registries;
mod restart;
mod rogue;
mod run;
mod scale;
mod sockets;
mod streams;
mod terminal;
mod transcript;
mod volumes;
mod walls;

use std::process::ExitCode;

use spec::Isolation;
use tests::command::Ran;
use tests::host::IMAGE;
use tests::{Host, Suite, both, once};

const SUITE: Suite = Suite {
    promise: "docker: the stock client works, in both modes",
    cases: &[
        once!(transcript::the_isolation_transcript_holds),
        both!(build::every_instruction_does_what_it_says),
        both!(build::what_cannot_be_built_is_told_and_leaves_nothing),
        once!(build::cache::a_step_is_made_again_only_if_something_changed),
        once!(build::cache::the_same_files_give_the_same_digest),
        both!(build::cache::a_cache_is_shared_as_it_says),
        once!(build::cache::a_prune_takes_steps_and_caches_but_no_image),
        once!(build::real::a_rust_program_goes_from_debian_into_nothing),
        once!(build::cache::what_was_not_used_for_longest_goes_first),
        both!(build::cache::a_build_that_nobody_waits_for_ends),
        both!(build::secrets::a_secret_is_seen_by_its_command_and_is_nowhere_else),
        once!(build::secrets::an_agent_is_refused_where_there_is_none),
        both!(build::secrets::a_command_signs_by_the_clients_agent),
        once!(build::secrets::a_repository_is_added_by_the_clients_agent),
        once!(build::fetched::a_repository_is_added),
        once!(build::fetched::a_file_from_a_server_is_unpacked_only_if_that_is_asked_for),
        once!(build::fetched::a_context_is_fetched_by_the_engine),
        both!(build::buildx::every_instruction_does_what_it_says),
        once!(build::buildx::what_cannot_be_built_is_told_and_leaves_nothing),
        both!(build::buildx::secrets_caches_and_agents_are_the_clients),
        once!(build::buildx::a_context_is_what_the_client_has),
        once!(build::buildx::a_context_may_be_somewhere_else),
        both!(build::buildx::a_result_is_an_image_or_files_of_the_client),
        both!(build::buildx::rights_are_given_by_the_client_alone),
        once!(build::buildx::a_policy_says_what_a_build_may_be_made_of),
        once!(build::buildx::warnings_are_told),
        once!(build::buildx::several_are_built_of_one_file),
        both!(build::buildx::a_build_that_nobody_waits_for_ends),
        once!(build::buildx::whoever_misuses_the_api_is_told_so),
        once!(build::contexts::no_context_reaches_outside),
        once!(build::contexts::names_with_every_byte_are_copied),
        once!(build::contexts::very_many_files_are_copied),
        once!(build::contexts::an_archive_larger_than_the_disk_leaves_nothing),
        both!(commands::a_containers_life_by_command),
        once!(commands::the_engine_by_command),
        once!(commands::files_and_volumes_by_command),
        once!(commands::an_images_life_by_command),
        both!(hull::a_containers_life_by_verb),
        once!(hull::the_engine_by_verb),
        once!(demo::the_demonstration_shows_both_walls),
        once!(docs::every_page_does_what_it_says),
        once!(package::a_package_has_what_an_installation_has),
        once!(compare::a_comparison_tells_what_differs),
        once!(dash::only_who_has_the_token_comes_in),
        both!(dash::a_browser_shows_containers_and_has_a_terminal),
        once!(hull::files_and_volumes_by_verb),
        once!(hull::an_images_life_by_verb),
        once!(hull::a_prune_asks_first),
        both!(hull::a_terminal_is_left_by_its_keys),
        both!(hull::streams_and_exit_codes_are_the_programs),
        once!(hull::a_pull_shows_bars_on_a_terminal),
        both!(hull::a_live_view_follows_its_container),
        once!(hull::a_login_is_dockers_too),
        once!(hull::the_doctor_finds_what_works_and_what_mends_the_rest),
        once!(pods::a_hosts_pods_are_told_as_they_can_be_had),
        once!(pods::a_minimal_vm_has_one_container_and_that_is_told),
        once!(hull::stop_waits_for_the_engine_and_start_for_its_answer),
        both!(hull_build::a_directory_becomes_an_image),
        both!(hull_build::a_failing_command_gives_its_status_and_its_output),
        once!(hull_build::a_live_view_shows_steps_and_what_was_cached),
        once!(hull_build::a_result_may_be_an_archive_or_a_directory),
        once!(hull_build::a_context_may_come_from_standard_input),
        once!(hull_build::a_repository_may_be_the_context),
        once!(hull_build::what_cannot_be_built_is_told_with_its_place),
        both!(hull_build::a_command_may_do_everything_only_if_that_is_allowed),
        both!(compose::a_project_of_three_services_comes_up_and_goes),
        both!(compose::builds::a_service_is_built_as_its_file_says),
        both!(compose::networks::services_are_known_on_their_networks_alone),
        both!(run::the_kernel_is_the_hosts_only_without_a_vm),
        both!(run::exit_codes_are_those_of_the_program),
        both!(run::a_detached_container_gives_its_id_and_can_be_waited_for),
        both!(run::the_image_is_seen_through_its_layers_and_can_be_written),
        both!(run::the_program_gets_what_was_asked_for),
        both!(run::a_container_that_wants_too_much_memory_is_killed),
        both!(run::containers_run_side_by_side),
        both!(streams::stdout_and_stderr_stay_apart),
        both!(streams::stdin_ends_and_output_still_comes),
        both!(streams::nothing_of_a_large_output_is_lost),
        both!(streams::logs_keep_order_streams_and_times),
        both!(streams::logs_follow_until_the_end),
        both!(streams::attach_joins_a_running_program),
        both!(logging::a_followed_log_is_whole_while_its_files_rotate),
        both!(logging::each_driver_keeps_what_it_should),
        once!(logging::lines_have_details_and_are_found_by_time),
        both!(attach::a_terminal_is_left_by_its_keys),
        both!(attach::a_browser_attaches_by_websocket),
        both!(attach::the_past_can_be_had_alone_and_in_frames),
        both!(terminal::a_terminal_has_a_size_that_follows_the_window),
        both!(terminal::an_exec_has_a_terminal_of_its_own),
        both!(exec::a_second_program_has_its_own_streams_and_exit_code),
        both!(exec::a_second_program_gets_what_was_asked_for),
        both!(exec::a_user_that_is_not_there_is_refused_before_it_starts),
        both!(exec::nothing_is_executed_in_a_container_that_does_not_run),
        both!(lifecycle::stop_asks_first_and_kills_later),
        both!(lifecycle::kill_delivers_the_signal_that_was_named),
        both!(lifecycle::ps_and_inspect_tell_the_state),
        both!(lifecycle::a_stopped_container_starts_again_with_what_it_wrote),
        both!(lifecycle::only_force_removes_a_running_container),
        both!(lifecycle::top_formats_as_ps_does),
        both!(lifecycle::a_restart_ends_with_it_running),
        both!(restart::a_failing_container_is_restarted_so_often),
        both!(restart::what_a_client_stops_stays_stopped),
        once!(restart::between_two_runs_it_is_restarting),
        once!(restart::an_engine_starts_what_its_policy_says),
        both!(health::a_check_finds_out_whether_it_works),
        once!(health::a_check_that_takes_too_long_has_failed),
        once!(pauses::the_processors_of_a_paused_vm_stand_still),
        once!(pauses::a_vm_runs_as_long_as_one_of_its_containers),
        both!(pauses::a_pause_gives_memory_back_if_asked),
        both!(openings::a_privileged_container_may_do_everything),
        once!(openings::devices_and_rules_are_those_that_were_asked_for),
        both!(devices::a_disk_of_the_hosts_is_read_and_written_as_it_may_be),
        once!(devices::what_is_no_disk_or_is_used_is_refused_to_a_vm),
        once!(devices::devices_are_asked_for_by_the_names_that_files_describe),
        both!(openings::a_profile_filters_system_calls),
        once!(openings::namespaces_of_the_host_are_shared_where_there_is_no_wall),
        both!(openings::what_was_asked_is_shown),
        both!(piercings::nothing_crosses_the_wall_of_a_plain_container),
        both!(piercings::what_crosses_a_wall_is_listed_and_warned_of),
        once!(openings::a_network_can_be_the_hosts_or_anothers),
        once!(namespaces::shared_memory_is_for_those_who_are_offered_it),
        both!(namespaces::memory_semaphores_queues_and_processes_are_ones_own),
        once!(namespaces::they_are_shared_where_that_is_asked),
        once!(namespaces::nobody_joins_what_is_in_a_vm),
        once!(namespaces::containers_join_each_other_in_one_vm),
        once!(namespaces::all_of_one_vm_are_removed_at_once),
        once!(namespaces::a_donor_of_processes_is_looked_for_early),
        once!(namespaces::no_namespace_crosses_the_wall_of_a_vm),
        both!(init::an_init_ends_as_its_program_did),
        both!(init::an_init_reaps_and_passes_signals_on),
        both!(init::a_program_behind_an_init_has_the_terminal),
        both!(limits::stats_tell_what_a_container_uses),
        both!(limits::limits_change_while_it_runs),
        once!(limits::a_vm_does_not_grow),
        once!(limits::block_devices_are_slowed_down),
        once!(limits::the_host_holds_a_vm_to_its_limits),
        both!(network::a_container_without_a_network_has_only_a_loopback),
        both!(network::a_server_in_a_container_answers_the_host),
        once!(network::containers_behind_different_walls_reach_each_other),
        both!(networks::containers_on_a_network_find_each_other_by_name),
        once!(networks::a_network_that_cannot_be_is_refused),
        both!(networks::a_container_comes_to_networks_and_leaves_them),
        once!(networks::links_and_extra_hosts_are_names_of_ones_own),
        once!(networks::a_link_is_shown_and_follows_its_container),
        once!(matrix::everybody_reaches_what_is_published_and_neighbours_each_other),
        once!(churn::a_name_is_known_as_long_as_its_container_runs),
        both!(churn::what_is_added_and_removed_leaves_nothing),
        both!(churn::traffic_does_not_notice_the_engine),
        both!(rates::a_container_receives_and_sends_no_faster_than_it_may),
        both!(bridges::ports_are_where_their_network_says),
        both!(bridges::a_bridge_may_be_without_the_host),
        both!(bridges::devices_are_called_as_wished),
        once!(marks::what_a_container_sends_is_known_by_its_marks),
        once!(marks::a_guest_has_no_marks),
        once!(networks::an_id_comes_before_a_name),
        once!(networks::an_engine_that_ends_leaves_only_what_containers_need),
        once!(networks::a_vm_has_interfaces_for_four_networks),
        both!(networks::names_are_served_as_they_come_and_go),
        both!(macvlan::containers_are_on_the_network_of_the_parent),
        once!(macvlan::a_network_without_a_parent_leads_nowhere),
        once!(macvlan::a_parent_has_one_network_and_in_mode_passthru_one_container),
        both!(ipv6::a_network_has_addresses_of_both_families),
        once!(ipv6::networks_have_subnets_that_nobody_uses),
        once!(ipv6::the_default_network_has_ipv6_if_the_engine_is_told),
        once!(ipv6::neighbours_are_kept_apart_if_asked),
        both!(egress::what_is_not_allowed_is_not_reached),
        both!(egress::another_address_is_no_way_out),
        both!(egress::a_network_says_what_its_containers_may),
        both!(egress::ipv6_is_held_as_ipv4_is),
        both!(egress::prometheus_reads_what_was_sent_in_vain),
        both!(ports::a_published_port_leads_to_its_container),
        once!(ports::a_port_that_is_taken_names_its_owner),
        both!(ports::ports_change_while_it_runs),
        both!(ports::a_client_of_udp_is_led_to_the_container_that_is),
        both!(ports::all_exposed_ports_are_published_if_asked),
        once!(pages::a_version_says_what_a_page_holds),
        once!(pages::containers_are_found_by_what_they_have),
        once!(pages::a_name_among_aliases_is_a_matter_of_the_version),
        both!(pages::a_prune_tells_how_much_it_reclaimed),
        once!(pages::an_archive_that_is_broken_is_told_of_in_the_stream),
        both!(exec::a_client_says_whether_it_wants_frames),
        once!(images::an_image_is_pulled_listed_and_removed),
        once!(images::docker_hub_is_reached_by_its_mirror),
        once!(images::run_pulls_what_is_not_there),
        both!(images::an_imported_archive_is_an_image),
        once!(images::archives_may_be_compressed_by_bzip2_and_xz),
        once!(images::what_is_saved_is_loaded),
        once!(images::other_tools_read_what_is_saved_and_write_what_is_loaded),
        once!(images::a_history_names_the_steps_and_their_sizes),
        once!(images::a_prune_removes_what_nobody_uses),
        once!(images::filters_choose_images),
        once!(images::what_happens_to_an_image_is_told),
        once!(registries::a_pushed_image_keeps_its_digest),
        once!(registries::a_registry_with_passwords_wants_a_login),
        once!(registries::only_an_authority_that_is_trusted_vouches_for_a_registry),
        once!(registries::a_registry_may_want_a_certificate_of_the_client),
        once!(hostile_images::ten_thousand_tricks_stay_inside_the_image),
        once!(hostile_images::an_archive_that_is_cut_off_leaves_nothing),
        once!(hostile_images::a_full_disk_stops_what_needs_room_and_nothing_else),
        once!(hostile_images::a_blob_that_has_rotted_is_told_and_fetched_again),
        both!(known::accounts::no_capability_is_inheritable),
        both!(known::accounts::the_own_group_is_a_supplementary_one),
        both!(known::accounts::a_number_is_nobody_elses_name),
        both!(known::accounts::the_kernels_own_files_are_hidden),
        both!(known::accounts::without_ipv6_no_interface_speaks_it),
        both!(known::files::cp_runs_nothing_of_the_container),
        both!(known::files::cp_is_not_led_out_by_a_race),
        both!(known::files::a_volume_is_filled_from_the_image_alone),
        once!(known::files::other_users_reach_no_containers_files),
        both!(known::files::a_builds_mounts_are_not_led_out),
        once!(known::appetite::a_check_that_never_stops_talking_is_cut),
        once!(known::appetite::an_archives_lists_have_a_limit),
        both!(known::guests::no_disk_is_reached_by_a_node_of_ones_own),
        once!(known::guests::what_is_shared_for_reading_cannot_be_written),
        once!(known::guests::no_order_names_a_file_of_the_host),
        once!(known::guests::what_a_guest_does_to_its_disks_is_its_own),
        once!(known::guests::no_socket_of_ours_is_abstract),
        once!(daemon::the_socket_is_the_groups),
        once!(connections::a_connection_serves_many_requests_also_sent_at_once),
        once!(connections::a_body_may_come_in_chunks_and_after_a_go_ahead),
        once!(connections::a_body_of_json_has_a_limit_and_one_shape),
        once!(connections::an_answer_does_not_wait_for_a_body_that_nobody_wants),
        once!(connections::a_request_in_flight_is_answered_when_the_engine_ends),
        once!(pulls::a_client_that_goes_ends_its_pull_and_no_other),
        once!(pulls::a_layer_that_breaks_off_goes_on_where_it_was),
        once!(pulls::a_manifest_of_dockers_own_form_goes_out_and_comes_back),
        once!(daemon::nothing_is_left_of_an_engine_that_is_uninstalled),
        once!(daemon::a_hang_up_reads_the_configuration_again),
        once!(daemon::a_reload_takes_over_registries_and_labels),
        once!(daemon::systemd_listens_for_the_engine_and_is_told_of_it),
        both!(files::cp_reaches_running_and_stopped_containers),
        both!(files::cp_sees_what_is_mounted),
        both!(files::no_symlink_of_a_container_leads_cp_out),
        both!(files::diff_export_and_commit_tell_what_was_written),
        both!(volumes::a_volume_outlives_its_containers),
        once!(volumes::nameless_volumes_go_with_their_container),
        both!(volumes::a_new_volume_is_filled_from_the_image),
        both!(volumes::an_images_volume_works_behind_both_walls),
        both!(volumes::a_volume_can_be_what_its_options_say),
        both!(volumes::a_volume_is_cloned_and_kept_as_it_was),
        once!(volumes::copies_share_their_data_where_the_file_system_can),
        both!(volumes::binds_show_the_hosts_files),
        both!(volumes::owners_modes_links_and_locks_are_the_hosts),
        once!(volumes::what_one_writes_the_other_reads),
        both!(sockets::a_socket_of_the_hosts_answers_inside),
        both!(sockets::the_engine_can_be_driven_from_inside),
        both!(sockets::a_fifo_of_the_hosts_passes_bytes_both_ways),
        once!(volumes::a_guest_knows_more_files_than_its_server_holds_open),
        once!(volumes::mounts_do_not_spread_into_a_vm),
        both!(parts::a_part_of_a_volume_is_all_that_is_seen),
        both!(parts::a_stopped_containers_part_is_reached_by_cp),
        once!(parts::a_part_that_becomes_a_link_shows_nothing_of_the_host),
        both!(parts::an_image_is_mounted_and_nobody_writes_it),
        once!(parts::what_is_beneath_a_bind_is_as_it_was_asked),
        once!(parts::no_name_and_no_mount_leads_out),
        both!(quotas::a_volume_holds_no_more_than_its_size),
        once!(quotas::a_volume_with_a_size_is_filled_and_copied_from),
        once!(quotas::a_volume_with_a_size_outlives_a_killed_engine),
        both!(quotas::what_a_container_writes_is_limited),
        once!(mounts::mounts_spread_as_far_as_is_asked),
        once!(mounts::what_happens_to_a_volume_is_told),
        once!(daemon::tcp_is_for_those_with_a_certificate),
        once!(daemon::prometheus_reads_what_the_engine_counts),
        both!(crash::a_killed_engine_finds_its_containers_again),
        both!(crash::a_killed_shim_means_a_dead_container),
        once!(policy::an_image_that_asks_for_a_newer_kernel_has_one_or_none),
        once!(walls::inspect_tells_what_a_wall_is_made_of),
        once!(walls::the_server_of_a_guests_files_is_shut_in),
        once!(policy::only_walls_that_are_allowed_are_had),
        once!(policy::a_workstations_containers_have_kernels_of_their_own),
        once!(machines::ten_machines_run_at_once_and_leave_nothing),
        once!(machines::a_machine_that_dies_is_a_container_that_was_killed),
        once!(machines::a_machine_that_dies_while_the_engine_is_away_is_found_dead),
        once!(rogue::a_hostile_agent_harms_its_own_container_alone),
        once!(scale::many_containers_run_at_once_in_little_memory),
        both!(crash::what_was_acknowledged_outlives_any_crash),
        once!(errors::a_wrong_isolation_is_refused_with_the_legal_ones),
        once!(errors::an_image_that_is_nowhere_is_one_clear_line),
        once!(errors::a_registry_that_is_down_is_one_clear_line),
        both!(errors::a_name_in_use_is_refused_with_its_owner),
        both!(errors::too_little_memory_is_refused),
        both!(errors::what_does_not_exist_is_not_found),
        once!(errors::a_request_is_refused_in_dockers_words),
        once!(errors::a_vm_without_a_kernel_is_one_clear_line),
        once!(mistakes::each_is_told_with_why_and_what_to_do),
        once!(errors::a_vm_without_qemu_is_one_clear_line),
    ],
};

fn main() -> ExitCode {
    SUITE.run()
}

/// `docker run --rm` in this mode.
#[track_caller]
fn run(host: &Host, isolation: Isolation, arguments: &[&str]) -> Ran {
    let isolation = format!("--isolation={isolation}");
    host.docker(&[&["run", "--rm", &isolation], arguments].concat())
}

/// `docker run -d` in this mode, of the sample image; gives the id.
#[track_caller]
fn detached(host: &Host, isolation: Isolation, flags: &[&str], command: &[&str]) -> String {
    let isolation = format!("--isolation={isolation}");
    host.docker(&[&["run", "-d", &isolation], flags, &[IMAGE], command].concat()).ok()
}

/// `docker inspect -f`.
#[track_caller]
fn field(host: &Host, name: &str, template: &str) -> String {
    host.docker(&["inspect", "-f", template, name]).ok()
}
