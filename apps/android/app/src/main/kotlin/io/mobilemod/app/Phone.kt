package io.mobilemod.app

import android.app.ActivityManager
import android.content.Context
import android.content.Intent
import android.content.IntentFilter
import android.os.BatteryManager
import android.os.Build
import android.os.PowerManager
import android.os.SystemClock
import androidx.annotation.RequiresApi
import io.mobilemod.core.DecodedImage
import io.mobilemod.core.LinuxFacts
import io.mobilemod.core.harness.Device
import io.mobilemod.core.harness.Engine
import io.mobilemod.core.harness.LoadRequest
import java.io.File
import java.time.Instant

/** This phone, for the harness and the benchmark. */
class Phone(
    private val context: Context,
) : Device {
    private val linux = LinuxFacts()

    override fun facts(): Map<String, Any?> =
        mapOf(
            "device" to
                mapOf(
                    "kind" to "android",
                    "model" to "${Build.MANUFACTURER} ${Build.MODEL}",
                    "os" to "Android ${Build.VERSION.RELEASE} (API ${Build.VERSION.SDK_INT})",
                    "processor" to if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.S) soc() else Build.HARDWARE,
                    "cores" to Runtime.getRuntime().availableProcessors(),
                    "memory_bytes" to memory(),
                ),
            "app" to mapOf("name" to context.packageName, "version" to BuildConfig.VERSION_NAME, "build" to BuildConfig.BUILD_TYPE),
            "runtimes" to Engines.VERSIONS,
        )

    override fun state(): Map<String, Any?> {
        val battery = context.registerReceiver(null, IntentFilter(Intent.ACTION_BATTERY_CHANGED))
        val tenths = battery?.getIntExtra(BatteryManager.EXTRA_TEMPERATURE, Int.MIN_VALUE) ?: Int.MIN_VALUE
        return mapOf(
            "thermal" to if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) thermal() else null,
            "temperature_c" to if (tenths == Int.MIN_VALUE) null else tenths / TENTHS,
            "battery" to battery?.let(::charge),
            "memory_bytes" to linux.residentBytes(),
            "frequencies_hz" to linux.frequencies(),
        )
    }

    override fun headroom(): Double? = if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.R) thermalHeadroom() else null

    override fun open(request: LoadRequest): Engine {
        Engines.prepare(context)
        return Engines.holder.open(this, request)
    }

    override fun decode(image: File): DecodedImage = Images.decode(image.readBytes())

    override fun nanos(): Long = SystemClock.elapsedRealtimeNanos()

    override fun wall(): String = Instant.now().toString()

    @RequiresApi(31)
    private fun soc(): String = "${Build.SOC_MANUFACTURER} ${Build.SOC_MODEL}"

    @RequiresApi(29)
    private fun thermal(): String? =
        when (context.getSystemService(PowerManager::class.java).currentThermalStatus) {
            PowerManager.THERMAL_STATUS_NONE -> "nominal"

            PowerManager.THERMAL_STATUS_LIGHT, PowerManager.THERMAL_STATUS_MODERATE -> "fair"

            PowerManager.THERMAL_STATUS_SEVERE -> "serious"

            PowerManager.THERMAL_STATUS_CRITICAL,
            PowerManager.THERMAL_STATUS_EMERGENCY,
            PowerManager.THERMAL_STATUS_SHUTDOWN,
            -> "critical"

            else -> null
        }

    @RequiresApi(30)
    private fun thermalHeadroom(): Double? {
        val found = context.getSystemService(PowerManager::class.java).getThermalHeadroom(0)
        return if (found.isNaN()) null else found.toDouble()
    }

    private fun memory(): Long {
        val info = ActivityManager.MemoryInfo()
        context.getSystemService(ActivityManager::class.java).getMemoryInfo(info)
        return info.totalMem
    }

    private fun charge(battery: Intent): Map<String, Any?>? {
        val level = battery.getIntExtra(BatteryManager.EXTRA_LEVEL, -1)
        val scale = battery.getIntExtra(BatteryManager.EXTRA_SCALE, -1)
        if (level < 0 || scale <= 0) return null
        val plugged = battery.getIntExtra(BatteryManager.EXTRA_PLUGGED, 0)
        return mapOf("level" to level.toDouble() / scale, "charging" to (plugged != 0))
    }

    private companion object {
        const val TENTHS = 10.0
    }
}
