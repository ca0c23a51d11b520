import { useText } from '../../../i18n/text';
import { CopyCommand } from '../../../kit/CopyCommand';
import { SidePanel } from '../../../kit/SidePanel';
import { useSession } from '../../../session/session';
import css from '../resources.module.css';

/** How a machine joins: two commands. */
export function AddPanel({ onClose }: { onClose: () => void }) {
  const { t } = useText();
  const { me } = useSession();
  return (
    <SidePanel title={t('resources.add')} onClose={onClose}>
      <p className={css.quiet}>{t('add.lead')}</p>
      <section className={css.group}>
        <p>{t('add.token')}</p>
        <CopyCommand command="tctl tokens add --type=node" />
      </section>
      <section className={css.group}>
        <p>{t('add.run')}</p>
        <CopyCommand command={`teleport start --roles=node --proxy=${me.proxy} --token=TOKEN --ca-pin=PIN`} />
      </section>
      <p className={css.quiet}>{t('add.wait')}</p>
    </SidePanel>
  );
}
