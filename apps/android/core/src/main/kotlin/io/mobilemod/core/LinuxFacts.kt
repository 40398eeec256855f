package io.mobilemod.core

import java.io.File
import java.io.IOException

/** What the kernel says of this process and the processor; null where it doesn't let itself be read. */
class LinuxFacts(
    private val proc: File = File("/proc"),
    private val cpus: File = File("/sys/devices/system/cpu"),
) {
    /** Resident memory of this process in bytes. */
    fun residentBytes(): Long? {
        val line = read(File(proc, "self/status"))?.lines()?.find { it.startsWith("VmRSS:") } ?: return null
        return line
            .split(Regex("\\s+"))
            .getOrNull(1)
            ?.toLongOrNull()
            ?.times(KILO)
    }

    /** Current frequency of each core in Hz. */
    fun frequencies(): List<Long>? {
        val found =
            (0 until Runtime.getRuntime().availableProcessors())
                .mapNotNull { read(File(cpus, "cpu$it/cpufreq/scaling_cur_freq"))?.trim()?.toLongOrNull() }
                .map { it * KHZ }
        return found.ifEmpty { null }
    }

    private fun read(file: File): String? =
        try {
            file.readText()
        } catch (_: IOException) {
            null
        }

    private companion object {
        const val KILO = 1024L
        const val KHZ = 1000L
    }
}
