// Loops on several threads.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <system_error>
#include <thread>
#include <vector>

// Calls task(i, worker) for every i in [0, count); worker < threads tells the threads apart. They are made for the
// call: none survive it, so a later fork is safe.
template <typename Task>
void parallel_for_workers(int64_t count, int threads, const Task& task) {
    std::atomic<int64_t> next{0};
    const auto work = [&](int worker) {
        for (int64_t i = next++; i < count; i = next++) task(i, worker);
    };
    std::vector<std::thread> helpers;
    try {
        for (int worker = 1; worker < std::min<int64_t>(threads, count); ++worker) helpers.emplace_back(work, worker);
    } catch (const std::system_error&) {
        // no more threads to be had: the ones there are do the work
    }
    work(0);
    for (auto& helper : helpers) helper.join();
}

// Calls task(i) for every i in [0, count).
template <typename Task>
void parallel_for(int64_t count, int threads, const Task& task) {
    parallel_for_workers(count, threads, [&](int64_t i, int) { task(i); });
}
