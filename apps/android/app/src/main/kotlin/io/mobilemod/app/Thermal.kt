package io.mobilemod.app

import android.content.Context
import android.os.Build
import android.os.PowerManager
import androidx.annotation.RequiresApi
import androidx.core.content.ContextCompat

/** Tells, on the main thread, whether the phone slows down for heat; from Android 10 on. */
class Thermal(
    private val context: Context,
    private val changed: (Boolean) -> Unit,
) {
    // Older Androids don't know its class.
    private var listener: Any? = null

    /** Tells the state now and every change until [stop]. */
    fun start() {
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) listen()
    }

    fun stop() {
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.Q) leave()
    }

    @RequiresApi(29)
    private fun listen() {
        val told = PowerManager.OnThermalStatusChangedListener { changed(it >= PowerManager.THERMAL_STATUS_MODERATE) }
        power().addThermalStatusListener(ContextCompat.getMainExecutor(context), told)
        listener = told
    }

    @RequiresApi(29)
    private fun leave() {
        (listener as? PowerManager.OnThermalStatusChangedListener)?.let { power().removeThermalStatusListener(it) }
        listener = null
    }

    private fun power(): PowerManager = context.getSystemService(PowerManager::class.java)
}
